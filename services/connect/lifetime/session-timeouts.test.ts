import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { defaultsOf } from "#platform/config/config.ts";
import type { UserCaller } from "#platform/identity/caller.ts";
import { createPeerProof } from "#platform/identity/peer-proof.ts";
import { createLog } from "#platform/log.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { RawDevice } from "../../../test/devices/raw-device.ts";
import { connectConfig } from "../config.ts";
import { Session } from "../socket/session.ts";
import { listenSockets } from "../socket/socket-server.ts";
import { SessionTimeouts } from "./session-timeouts.ts";

/** One open session, with its pings and its end recorded, and the checks of its time-outs. */
function setUp(t: TestContext) {
  const clock = new ManualClock();
  const record = { pings: 0, code: 0 };
  const session = new Session({
    ...defaultsOf(connectConfig),
    nowMs: clock.elapsed(),
    socket: {
      peer: "",
      send: () => "sent",
      waitingBytes: () => 0,
      subscribe() {},
      unsubscribe() {},
      terminate() {},
      ping: () => void record.pings++,
      end: (code) => {
        record.code ||= code;
      },
    },
  });
  const caller = { expiresAtMs: Number.POSITIVE_INFINITY } as UserCaller;
  session.transition({ kind: "open", caller });
  const timeouts = new SessionTimeouts({
    clock,
    config: { ...defaultsOf(connectConfig), heartbeatIntervalMs: 25_000 },
    revocations: { keyState: () => "published" },
    lastSeen: { recordIfDue() {} } as never,
    sessions: { all: () => [session] } as never,
    channels: {} as never,
    sweep: {} as never,
  });
  timeouts.start();
  t.after(() => timeouts.close());
  const heard = (what: "lastFrameAtMs" | "lastPongAtMs") => {
    session[what] = clock.elapsed();
  };
  return { clock, record, heard };
}

test("a session of a hidden tab, with a heartbeat a minute, is kept by the answers to pings", (t) => {
  const { clock, record, heard } = setUp(t);
  for (let minute = 0; minute < 10; minute++) {
    for (const _ of [1, 2]) {
      const before = record.pings;
      clock.advance(27_000);
      assert.equal(record.pings, before + 1);
      heard("lastPongAtMs");
    }
    clock.advance(6_000);
    heard("lastFrameAtMs");
  }
  assert.equal(record.code, 0);
});

test("a device that sends its heartbeats in time is not pinged", (t) => {
  const { clock, record, heard } = setUp(t);
  for (let beat = 0; beat < 20; beat++) {
    clock.advance(12_500);
    heard("lastFrameAtMs");
  }
  assert.deepEqual(record, { pings: 0, code: 0 });
});

test("a device that answers no ping is gone after two silent intervals", (t) => {
  const { clock, record } = setUp(t);
  clock.advance(50_000);
  assert.deepEqual(record, { pings: 1, code: 0 });
  clock.advance(1_000);
  assert.equal(record.code, CloseCode.HEARTBEAT_TIMEOUT);
});

test("pongs alone keep a session for three minutes", (t) => {
  const { clock, record, heard } = setUp(t);
  for (let at = 0; at < 180_000; at += 20_000) {
    clock.advance(20_000);
    heard("lastPongAtMs");
  }
  assert.equal(record.code, 0);
  clock.advance(1_000);
  assert.equal(record.code, CloseCode.HEARTBEAT_TIMEOUT);
});

test("a device answers a ping by itself, and the socket reports it", async (t) => {
  let ping = () => {};
  const pong = Promise.withResolvers<void>();
  const sockets = await listenSockets({
    host: "127.0.0.1",
    port: 0,
    maxFrameBytes: 1_024,
    maxBackpressureBytes: 65_536,
    idleSeconds: 60,
    proof: createPeerProof(["a secret of tests"]),
    refusal: () => undefined,
    events: {
      accept(socket) {
        ping = () => socket.ping();
        return socket;
      },
      frame() {},
      notBinary() {},
      pong: () => pong.resolve(),
      drained() {},
      dropped() {},
      lost() {},
      closed() {},
    },
    log: createLog({ service: "connect", instanceId: "test", level: "silent" }),
  });
  t.after(() => sockets.close());
  const device = await RawDevice.open(`http://127.0.0.1:${sockets.port}`);
  ping();
  await pong.promise;
  await device.close();
  // After the socket has closed, a ping does nothing.
  ping();
});
