import assert from "node:assert/strict";
import { test } from "node:test";
import { noDeliveryCounts, ReceivedMessages } from "./received-messages.ts";

/** Counts of deliveries, each [number, sequence]. */
function countsOf(...deliveries: [number: number, sequence: number][]) {
  const counts = noDeliveryCounts();
  const messages = new ReceivedMessages(counts);
  for (const [number, sequence] of deliveries) messages.deliver(number, sequence);
  return counts;
}

test("messages in order are each delivered once", () => {
  assert.deepEqual(countsOf([0, 1], [1, 2], [2, 4]), { ...noDeliveryCounts(), delivered: 3 });
});

test("a repeated sequence is a redelivery, and a second sequence is a duplicate", () => {
  assert.deepEqual(countsOf([0, 1], [0, 1], [0, 2]), {
    ...noDeliveryCounts(),
    delivered: 1,
    redelivered: 1,
    duplicated: 1,
  });
});

test("an entry after a later one is late, and the gap before it is not counted as a message", () => {
  assert.deepEqual(countsOf([0, 1], [2, 3], [1, 2]), {
    ...noDeliveryCounts(),
    delivered: 3,
    late: 1,
  });
});
