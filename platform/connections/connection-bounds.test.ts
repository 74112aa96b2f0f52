import assert from "node:assert/strict";
import { test } from "node:test";
import { createLog } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { createConnectionBounds, type Maxima } from "./connection-bounds.ts";
import { reportRefusals } from "./refusals.ts";

function setUp(maxima: Maxima) {
  const refusals: string[] = [];
  const metrics = new Metrics();
  const bounds = createConnectionBounds({
    maxima,
    metrics,
    refused: (reason, address) => void refusals.push(`${reason} ${address}`),
  });
  /** Opens connections of an address until one is refused. Returns those that were admitted. */
  function fill(address: string) {
    const places = [];
    for (let place = bounds.open(address); place; place = bounds.open(address)) places.push(place);
    return places;
  }
  return { bounds, fill, refusals, metrics };
}

const WIDE: Maxima = { all: 1_000, address: 100, network: 250 };

test("one address has a maximum, and another address is not affected", () => {
  const { bounds, fill, refusals } = setUp(WIDE);
  assert.equal(fill("203.0.113.7").length, 100);
  assert.deepEqual(refusals, ["address 203.0.113.7"]);
  assert.ok(bounds.open("203.0.113.8"));
});

test("the addresses of one /64 network count together, and so do the networks of one /48", () => {
  const { bounds, fill, refusals } = setUp(WIDE);
  assert.equal(fill("2001:db8:1:1::1").length, 100);
  assert.equal(bounds.open("2001:db8:1:1:ffff::2"), undefined);
  assert.equal(fill("2001:db8:1:2::1").length, 100);
  assert.equal(fill("2001:db8:1:3::1").length, 50);
  assert.equal(bounds.open("2001:db8:1:4::1"), undefined);
  assert.equal(refusals.at(-1), "network 2001:db8:1:4::1");
  assert.ok(bounds.open("2001:db8:2::1"));
});

test("IPv4 in the form of IPv6 is the same address", () => {
  const { bounds, fill } = setUp(WIDE);
  assert.equal(fill("::ffff:203.0.113.7").length, 100);
  assert.equal(bounds.open("203.0.113.7"), undefined);
});

test("a released place is free again, and counts once however often it is released", () => {
  const { bounds, fill } = setUp({ all: 10, address: 1, network: 1 });
  const [place] = fill("203.0.113.7");
  place!.release();
  place!.release();
  const [next] = fill("203.0.113.7");
  assert.ok(next);
  assert.equal(bounds.open("203.0.113.7"), undefined);
  assert.equal(next.move("203.0.113.8"), true);
  assert.ok(bounds.open("203.0.113.7"));
});

test("when few places are free, an address with many connections is refused first", () => {
  const { bounds, fill } = setUp(WIDE);
  const greedy = Array.from({ length: 9 }, (_, at) => fill(`203.0.113.${at}`).length);
  assert.deepEqual(greedy.slice(0, 7), Array(7).fill(100));
  // The maximum of an address shrinks within the last quarter.
  assert.ok(greedy[7]! < 100 && greedy[8]! < greedy[7]!, greedy.join());
  assert.equal(bounds.open("203.0.113.0"), undefined);
  assert.ok(bounds.open("198.51.100.1"), "an address without a connection is admitted");
});

test("twenty addresses that take as many places as they can leave room for a newcomer", () => {
  const { bounds, fill } = setUp(WIDE);
  for (let at = 0; at < 20; at++) fill(`203.0.113.${at}`);
  for (let at = 0; at < 20; at++) assert.ok(bounds.open(`198.51.100.${at}`));
});

test("no connection is admitted when all places are taken, also not a proxy's", () => {
  const { bounds, refusals } = setUp({ all: 3, address: 3, network: 3 });
  const places = [bounds.open(undefined), bounds.open(undefined), bounds.open(undefined)];
  assert.equal(bounds.open(undefined), undefined);
  assert.equal(bounds.open("203.0.113.7"), undefined);
  assert.deepEqual(refusals, ["all undefined", "all 203.0.113.7"]);
  places[0]!.release();
  assert.ok(bounds.open("203.0.113.7"));
});

test("requests on shared connections count for their client, not among all connections", async () => {
  const { bounds, metrics } = setUp({ all: 10, address: 2, network: 2 });
  bounds.open(undefined);
  const first = bounds.share("203.0.113.7");
  assert.ok(bounds.share("203.0.113.7"));
  assert.equal(bounds.share("203.0.113.7"), undefined);
  assert.match(await metrics.text(), /^lucky_connections 1$/m);
  assert.match(await metrics.text(), /^lucky_connections_max 10$/m);
  first!.release();
  assert.ok(bounds.share("203.0.113.7"));
});

test("a place that moves counts for the other address, unless that one has too many", () => {
  const { bounds } = setUp({ all: 10, address: 1, network: 1 });
  const place = bounds.open(undefined)!;
  assert.equal(place.move("203.0.113.7"), true);
  const other = bounds.open(undefined)!;
  assert.equal(other.move("203.0.113.7"), false);
  assert.equal(place.move(undefined), true);
  assert.equal(other.move("203.0.113.7"), true);
});

test("refused connections are counted, and logged at most once in ten seconds with their number", async () => {
  const lines: Record<string, unknown>[] = [];
  const stream = { write: (line: string) => void lines.push(JSON.parse(line)) };
  const log = createLog({ service: "test", instanceId: "test-0", level: "warn", stream });
  const metrics = new Metrics();
  const clock = new ManualClock();
  const report = reportRefusals({ log, metrics, clock });
  for (let at = 0; at < 1_000; at++) report("address", "203.0.113.7");
  report("all", "198.51.100.1");
  const shown = () => lines.map(({ event, reason, refused }) => `${event} ${reason} ${refused}`);
  assert.deepEqual(shown(), ["connections_refused address 1", "connections_refused all 1"]);
  assert.equal(lines[0]?.address, "203.0.113.7");
  clock.advance(10_000);
  assert.deepEqual(shown().slice(2), ["connections_refused address 999"]);
  clock.advance(10_000);
  report("address", "203.0.113.7");
  assert.deepEqual(shown().slice(3), ["connections_refused address 1"]);
  assert.match(await metrics.text(), /^lucky_connections_refused_total\{reason="address"\} 1001$/m);
});
