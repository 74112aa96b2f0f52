import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import {
  accepted,
  type Outgoing,
  refused,
  Stand,
  toConversation,
  toUser,
} from "../server.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 8 });

test("a sender of many duplicates causes only one retry for other senders, until it has sent no duplicate for a minute", async (t) => {
  const stand = new Stand(t, pool);
  // The other test uses the same worker number, so the ids of this test need another time.
  stand.clock.advance(1_000);
  const one = await stand.server();
  const retries = async () => {
    const found = /lucky_append_retries_total\{cause="duplicate"\} (\d+)/.exec(
      await one.metrics.text(),
    );
    return Number(found?.[1] ?? 0);
  };
  let count = 0;
  const sendWithOther = async (...duplicates: Outgoing[]) => {
    const other = { from: "13", to: toUser("14"), key: `n${++count}`, text: "hi" };
    return (await one.append(other, ...duplicates)).map((result) => accepted(result).sequence);
  };
  const same = { from: "11", to: toUser("12"), key: "same", text: "hi" };
  assert.deepEqual(await sendWithOther(same), [1, 1]);
  assert.equal(await retries(), 0);
  assert.deepEqual(await sendWithOther(same), [2, 1]);
  assert.equal(await retries(), 1);
  const twice = { ...same, key: "twice" };
  assert.deepEqual(
    await sendWithOther(same, twice, twice, { ...same, key: "new" }),
    [3, 1, 2, 2, 3],
  );
  assert.deepEqual(await sendWithOther(twice), [4, 2]);
  assert.equal(await retries(), 1);
  stand.clock.advance(40_000);
  assert.deepEqual(await sendWithOther(same), [5, 1]);
  stand.clock.advance(40_000);
  assert.deepEqual(await sendWithOther(same), [6, 1]);
  assert.equal(await retries(), 1);
  stand.clock.advance(60_000);
  assert.deepEqual(await sendWithOther(same), [7, 1]);
  assert.equal(await retries(), 2);

  // For a non-member all copies of a key are refused with NOT_A_MEMBER.
  const { group } = await one.groups("13").createGroup({ name: "g", userIds: ["14"] });
  const to = toConversation(group!.groupId);
  const copies = Array.from({ length: 20 }, () => ({ from: "11", to, key: "k", text: "hi" }));
  const reasons = (await one.append(...copies)).map(refused);
  assert.deepEqual(new Set(reasons), new Set([ErrorReason.NOT_A_MEMBER]));
});

test("queued sends after a failed send do not overtake its retry", async (t) => {
  let failures = 0;
  const flaky = Object.create(pool, {
    connect: {
      value: () => (failures-- > 0 ? Promise.reject(new Error("unreachable")) : pool.connect()),
    },
  });
  const one = await new Stand(t, flaky).server({ laneBatchCount: 1 });
  const [made] = await one.append({ from: "1", to: toUser("2"), key: "m0", text: "m0" });
  const to = toConversation(accepted(made).conversationId);
  const batch = ["m1", "m2", "m3"].map((key) => ({ from: "1", to, key, text: key }));
  failures = 1;
  await assert.rejects(one.append(...batch));
  const sequences = (await one.append(...batch)).map((result) => accepted(result).sequence);
  assert.deepEqual(sequences, [2, 3, 4]);
});
