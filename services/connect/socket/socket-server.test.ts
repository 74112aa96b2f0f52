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
    proof: createPeerProof("a mesh secret of tests"),
    accepting: () => true,
    events: {
      accept: (socket) => new Session({ ...defaultsOf(connectConfig), socket, nowMs: 0 }),
      frame(greeted) {
        session = greeted;
        greeted.sendRequired(welcomeFrame({}));
      },
      notBinary() {},
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

const cutOff: SessionEnd = { code: 1006, text: "the device does not read" };

test("a device is disconnected when frames of a group leave no room for a required frame that was sent before them", async (t) => {
  const { session, sockets, ended } = await stuck(t);
  session.sendRequired(new Uint8Array(10));
  for (let i = 0; i < 2; i++) sockets.publish("g:77", new Uint8Array(65_536));
  assert.deepEqual(await ended, cutOff);
});

test("a device is disconnected when a flush drops one of several required frames", async (t) => {
  const { session, ended } = await stuck(t);
  for (const bytes of [60_000, 10]) session.sendRequired(new Uint8Array(bytes));
  assert.deepEqual(await ended, cutOff);
});
