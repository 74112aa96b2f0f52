// Preloaded by `node --import` into each process of a mesh that a test has started: its system clock
// becomes one that the test moves. The address of the test is in the query of this module's URL.
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { systemClock } from "#platform/clock.ts";
import { MovedClock } from "./offset-clock.ts";

const clock = new MovedClock();
Object.assign(systemClock, {
  now: () => clock.now(),
  elapsed: () => clock.elapsed(),
  after: (delayMs: number, ring: () => void) => clock.after(delayMs, ring),
  every: (intervalMs: number, ring: () => void) => clock.every(intervalMs, ring),
});

const port = Number(new URL(import.meta.url).searchParams.get("port"));
const socket = connect({ port, host: "127.0.0.1", noDelay: true });
// The test may end first.
socket.on("error", () => socket.destroy());
// A line says by how much all clocks are moved by now; it is said back when that is so here.
await new Promise<void>((resolve) => {
  createInterface({ input: socket }).on("line", (line) => {
    const ms = Number(line) - clock.movedMs;
    if (ms > 0) clock.advance(ms);
    socket.write(`${line}\n`);
    resolve();
  });
});
socket.unref();
