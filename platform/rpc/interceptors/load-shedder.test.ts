import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Access, LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import { detailOf } from "#platform/errors.ts";
import { keptLog } from "#platform/log.fixture.ts";
import { Metrics } from "#platform/metrics.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { createLoadShedder } from "./load-shedder.ts";

function setUp() {
  const clock = new ManualClock();
  const metrics = new Metrics();
  const { log, lines } = keptLog();
  const shedder = createLoadShedder({ clock, log, metrics });
  /** The kinds of calls that are shed now. */
  const shed = () => {
    const kinds = {
      search: { access: Access.USER, limit: LimitClass.SEARCH },
      read: { access: Access.USER, limit: LimitClass.READ },
      write: { access: Access.USER, limit: LimitClass.WRITE },
      send: { access: Access.USER, limit: LimitClass.SEND },
      login: { access: Access.PUBLIC, limit: LimitClass.CREDENTIAL },
      internal: { access: Access.INTERNAL, limit: LimitClass.INTERNAL },
      health: { access: Access.PUBLIC, limit: LimitClass.INTERNAL },
    };
    return Object.entries(kinds).flatMap(([kind, rules]) => {
      try {
        shedder.admit(rules);
        return [];
      } catch (error) {
        assert.equal(detailOf(error)?.reason, ErrorReason.OVERLOADED);
        assert.ok(detailOf(error)!.retryAfterMs >= 1_000n);
        return [kind];
      }
    });
  };
  return { clock, metrics, lines, shedder, shed };
}

test("while a queue waits, searches are shed first, then reads, then changes, and never logins or internal calls", async () => {
  const { clock, metrics, lines, shedder, shed } = setUp();
  let waitMs = 150;
  shedder.watch("database", () => waitMs);
  assert.deepEqual(shed(), []);
  clock.advance(500);
  assert.deepEqual(shed(), ["search"]);
  clock.advance(500);
  assert.deepEqual(shed(), ["search", "read"]);
  clock.advance(500);
  assert.deepEqual(shed(), ["search", "read", "write", "send"]);
  clock.advance(5_000);
  const text = await metrics.text();
  assert.match(text, /^lucky_shed_level 3$/m);
  assert.match(text, /^lucky_shed_calls_total\{kind="read"\} 2$/m);
  assert.match(text, /^lucky_queue_wait_seconds\{queue="database"\} 0.15$/m);
  waitMs = 80;
  clock.advance(500);
  assert.equal(shed().length, 4, "neither overloaded nor free");
  waitMs = 0;
  clock.advance(1_500);
  assert.deepEqual(shed(), []);
  assert.deepEqual(
    lines.map(({ event }) => event),
    ["shedding_begun", "shedding_ended"],
  );
});

test("a burst that leaves a moment without a wait sheds nothing", () => {
  const { clock, shedder, shed } = setUp();
  let sampled = 0;
  shedder.watch("database", () => (sampled++ % 10 === 9 ? 0 : 5_000));
  clock.advance(5_000);
  assert.deepEqual(shed(), []);
});

test("a busy event loop sheds, and a single pause of the process does not", () => {
  const { clock, shed } = setUp();
  let lateMs = 0;
  const elapsed = clock.elapsed.bind(clock);
  clock.elapsed = () => elapsed() + lateMs;
  lateMs += 10_000;
  clock.advance(500);
  assert.deepEqual(shed(), []);
  for (let i = 0; i < 10; i++) {
    lateMs += 150;
    clock.advance(50);
  }
  assert.deepEqual(shed(), ["search"]);
});
