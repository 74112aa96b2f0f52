import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { createLog } from "#platform/log.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { startPostmaster } from "./postmaster.ts";

/** Starts a program in place of PostgreSQL; it prints a line at its start and at each SIGUSR2. */
async function startSlowly(t: TestContext, lines: readonly string[]) {
  const folder = await mkdtemp(join(tmpdir(), "lucky-postmaster-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const script = `
    const lines = ${JSON.stringify(lines)};
    process.on("SIGUSR2", () => console.error(lines.shift()));
    setInterval(() => {}, 1000);
    console.error("LOG:  pid " + process.pid);`;
  const events = new EventEmitter();
  const write = (line: string) => void events.emit("line", JSON.parse(line).line);
  const clock = new ManualClock();
  const starting = startPostmaster({
    program: "postgres",
    cluster: join(folder, "cluster"),
    lock: join(folder, "cluster.lock"),
    settings: {},
    launch: { command: () => ({ file: process.execPath, args: ["--eval", script] }), ids: {} },
    clock,
    log: createLog({ service: "test", instanceId: "test", level: "debug", stream: { write } }),
  });
  starting.catch(() => {});
  const [first] = await once(events, "line");
  const pid = Number(/\d+/.exec(first)?.[0]);
  t.after(() => {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended.
    }
  });
  return { starting, clock, events, pid };
}

test("a start may take long while it makes progress, such as a recovery of a long log", async (t) => {
  const recovery = "LOG:  redo in progress, elapsed time: 50.00 s";
  const ready = "LOG:  database system is ready to accept connections";
  const { starting, clock, events, pid } = await startSlowly(t, [recovery, recovery, ready]);
  for (let line = 0; line < 3; line++) {
    clock.advance(50_000);
    const printed = once(events, "line");
    process.kill(pid, "SIGUSR2");
    await printed;
  }
  const postmaster = await starting;
  assert.equal(clock.waiting, 0);
  await postmaster.stop();
});

test("a start without progress for a minute fails", async (t) => {
  const { starting, clock } = await startSlowly(t, []);
  clock.advance(60_000);
  await assert.rejects(starting, /did not start: LOG: +pid \d+ · no progress for 60 s$/);
});
