import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { CloseCode, ServerFrameSchema } from "../../gen/lucky/frame/v1/frame_pb.js";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import type { Clock } from "../clock.ts";
import { Connection, type Ended } from "./connection.ts";

/** A WebSocket whose peer never answers a close. */
class DeafSocket extends EventTarget {
  readonly OPEN = 1;
  readyState = 1;
  binaryType = "";
  send(): void {}
  close(): void {
    this.readyState = 2;
  }
}

function open(clock: Clock) {
  const socket = new DeafSocket();
  const seen = { welcomed: false };
  const connection = new Connection({
    url: "ws://localhost",
    webSocket: function open() {
      return socket;
    } as unknown as typeof WebSocket,
    clock,
    accessToken: "token",
    program: {},
    welcome: () => {
      seen.welcomed = true;
    },
    frame: () => {},
  });
  const receive = (kind: MessageInitShape<typeof ServerFrameSchema>["kind"]) => {
    const frame = toBinary(ServerFrameSchema, create(ServerFrameSchema, { kind }));
    socket.dispatchEvent(new MessageEvent("message", { data: frame.slice().buffer }));
  };
  return { connection, receive, seen };
}

const WELCOME = { case: "welcome", value: { heartbeatIntervalMs: 20_000n } } as const;
const HEARTBEAT = { case: "heartbeat", value: {} } as const;

/** The outcome of the connection; undefined while it is open. */
const outcomeOf = (ended: Promise<Ended>) =>
  Promise.race([ended, new Promise<undefined>((resolve) => setImmediate(resolve, undefined))]);

test("a Welcome that races with a close is ignored, and the connection ends", async () => {
  const clock = new ManualClock();
  const { connection, receive, seen } = open(clock);
  const closed = connection.close();
  receive(WELCOME);
  clock.advance(2_000);
  assert.deepEqual(await outcomeOf(closed), { code: 1000, text: "", openedAtMs: undefined });
  assert.equal(seen.welcomed, false);
});

test("a step of the time of day ends no connection whose server answers", async () => {
  const clock = new ManualClock();
  const { connection, receive } = open(clock);
  receive(WELCOME);
  for (const stepMs of [55_000, 3_600_000, -7_200_000]) {
    clock.step(stepMs);
    for (let n = 0; n < 4; n++) {
      clock.advance(10_000);
      receive(HEARTBEAT);
    }
  }
  assert.equal(await outcomeOf(connection.ended), undefined);
});

test("a dead connection ends after two silent intervals, but soon after the device slept", async () => {
  const clock = new ManualClock();
  for (const [sleptMs, silentMs] of [
    [0, 40_000],
    // The first heartbeat after the sleep must be answered before the second.
    [600_000, 20_000],
    [-3_600_000, 40_000],
  ] as const) {
    const { connection, receive } = open(clock);
    receive(WELCOME);
    clock.step(sleptMs);
    clock.advance(silentMs - 1);
    assert.equal(await outcomeOf(connection.ended), undefined);
    clock.advance(1);
    assert.equal((await connection.ended).code, CloseCode.HEARTBEAT_TIMEOUT);
  }
});

/** The clock of a hidden browser tab: its timers fire only at full minutes. */
function hiddenTab(clock: ManualClock): Clock {
  return {
    now: () => clock.now(),
    elapsed: () => clock.elapsed(),
    after(delayMs, ring) {
      const due = Math.ceil((clock.elapsed() + delayMs) / 60_000) * 60_000;
      return clock.after(due - clock.elapsed(), ring);
    },
  };
}

test("a hidden tab whose timers run once a minute keeps its connection while the server answers", async () => {
  const clock = new ManualClock(0);
  const { connection, receive } = open(hiddenTab(clock));
  receive(WELCOME);
  for (let minute = 0; minute < 10; minute++) {
    clock.advance(60_000);
    receive(HEARTBEAT);
    assert.equal(await outcomeOf(connection.ended), undefined);
  }
  clock.advance(60_000);
  assert.equal(await outcomeOf(connection.ended), undefined);
  clock.advance(60_000);
  assert.equal((await connection.ended).code, CloseCode.HEARTBEAT_TIMEOUT);
});
