// `node --import` preloads this module into each process of a mesh that a test starts. It replaces
// the process's system clock by one that the test moves. The test's port is in the query of this
// module's URL.
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { systemClock } from "#platform/clock.ts";
import { OffsetClock } from "./offset-clock.ts";

const clock = new OffsetClock();
Object.assign(systemClock, {
  now: () => clock.now(),
  elapsed: () => clock.elapsed(),
  after: (delayMs: number, callback: () => void) => clock.after(delayMs, callback),
  every: (intervalMs: number, callback: () => void) => clock.every(intervalMs, callback),
});

const port = Number(new URL(import.meta.url).searchParams.get("port"));
const socket = connect({ port, host: "127.0.0.1", noDelay: true });
// The test may end before this process.
socket.on("error", () => socket.destroy());
// Each line is the total of all moves, and the total of all steps, ms. The process echoes it once its
// own clock has them.
await new Promise<void>((resolve) => {
  createInterface({ input: socket }).on("line", (line) => {
    const [offsetMs = 0, steppedMs = 0] = line.split(" ").map(Number);
    clock.step(steppedMs - clock.steppedMs);
    const ms = offsetMs - clock.offsetMs;
    if (ms > 0) clock.advance(ms);
    socket.write(`${line}\n`);
    resolve();
  });
});
socket.unref();
