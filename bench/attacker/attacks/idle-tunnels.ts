import { randomBytes } from "node:crypto";
import type { Attack } from "../target/attack.ts";
import { inParallel, keepDoing, pause } from "../target/loops.ts";
import type { Target } from "../target/target.ts";

const TUNNELS = 500;
/**
 * How long a tunnel is kept after the server ended its side, ms. Longer than the time-out after which the
 * gateway cuts a tunnel whose other side has ended.
 */
const KEPT_MS = 8_000;

export const idleTunnels: Attack = {
  name: "idle-tunnels",
  summary: `${TUNNELS} WebSockets through the gateway say nothing, and do not close when their session ends`,
  prepare: (target) => (signal) =>
    inParallel(TUNNELS, () => keepDoing(target, signal, () => holdTunnel(target, signal))),
};

async function holdTunnel(target: Target, signal: AbortSignal): Promise<void> {
  const socket = target.connect({ allowHalfOpen: true });
  const ended = new Promise<string>((resolve) => {
    socket.once("end", () => resolve("ended"));
    socket.once("close", () => resolve("closed"));
  });
  socket.once("data", (head) => {
    target.tally.answered(head.toString("latin1").split(" ", 2)[1] ?? "");
    socket.resume();
  });
  socket.write(
    "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\nSec-WebSocket-Version: 13\r\n` +
      "Sec-WebSocket-Protocol: lucky.v1\r\n\r\n",
  );
  const how = await ended;
  if (signal.aborted) return;
  target.tally.answered(`tunnel ${how}`);
  await pause(KEPT_MS, signal);
  socket.destroy();
}
