import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { defaultsOf } from "#platform/config/config.ts";
import { createPeerProof } from "#platform/identity/peer-proof.ts";
import { createLog } from "#platform/log.ts";
import { SlowReader } from "../../../test/devices/slow-reader.ts";
import { connectConfig } from "../config.ts";
import { welcomeFrame } from "./frames.ts";
import { Session, type SessionEnd } from "./session.ts";
import { listenSockets } from "./socket-server.ts";

const MAX_BACKPRESSURE_BYTES = 131_072;

/** A session whose device does not read, with a nearly full queue. */
async function stuck(t: TestContext) {
  let session: Session | undefined;
  let end: ((end: SessionEnd) => void) | undefined;
  const ended = new Promise<SessionEnd>((resolve) => {
    end = resolve;
  });
  const sockets = await listenSockets<Session>({
    host: "127.0.0.1",
    port: 0,
    maxFrameBytes: 65_536,
    maxBackpressureBytes: MAX_BACKPRESSURE_BYTES,
    idleSeconds: 60,
    proof: createPeerProof(["a secret of tests"]),
    refusal: () => undefined,
    events: {
      accept: (socket) => new Session({ ...defaultsOf(connectConfig), socket, nowMs: 0 }),
      frame(greeted) {
        session = greeted;
        greeted.sendRequired(welcomeFrame({}));
      },
      notBinary() {},
      pong() {},
      drained() {},
      dropped() {},
      lost: (one) => one.terminate(),
      closed: (one, code) => end?.(one.endReason(code)),
    },
    log: createLog({ service: "connect", instanceId: "test", level: "silent" }),
  });
  t.after(() => sockets.close());
  const device = await SlowReader.open(sockets.port, "any token");
  t.after(async () => void device.socket.destroy());
  device.socket.pause();
  const { socket } = session!;
  // Frames are queued here only when the buffers of the operating system are full.
  while (socket.waitingBytes() < 100_000) {
    socket.send(new Uint8Array(30_000));
    socket.subscribe("g:77");
    // The operating system enlarges its buffers and accepts more bytes.
    await turn();
    await turn();
  }
  assert.ok(socket.waitingBytes() <= MAX_BACKPRESSURE_BYTES);
  return { session: session!, sockets, ended };
}

const CUT_OFF: SessionEnd = { code: 1006, text: "the device does not read" };

/**
 * Repeats a round of sends until the session has ended, and returns its end. One round is enough
 * unless the operating system accepts queued bytes in the meantime. A round starts only while the
 * queue accepts frames, so that a flush drops them, not the send.
 */
async function repeatUntilEnd(
  { session, ended }: { session: Session; ended: Promise<SessionEnd> },
  round: () => void,
): Promise<SessionEnd> {
  let end: SessionEnd | undefined;
  void ended.then((value) => {
    end = value;
  });
  while (end === undefined) {
    if (session.socket.waitingBytes() <= MAX_BACKPRESSURE_BYTES) round();
    await turn();
    await turn();
    await turn();
  }
  return end;
}

test("a device is disconnected when frames of a group leave no room for a required frame that was sent before them", async (t) => {
  const { session, sockets, ended } = await stuck(t);
  const end = await repeatUntilEnd({ session, ended }, () => {
    session.sendRequired(new Uint8Array(10));
    for (let i = 0; i < 2; i++) sockets.publish("g:77", new Uint8Array(65_536));
  });
  assert.deepEqual(end, CUT_OFF);
});

test("a device is disconnected when a flush drops one of several required frames", async (t) => {
  const { session, ended } = await stuck(t);
  const end = await repeatUntilEnd({ session, ended }, () => {
    for (const bytes of [60_000, 10]) session.sendRequired(new Uint8Array(bytes));
  });
  assert.deepEqual(end, CUT_OFF);
});
