import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, test } from "node:test";
import pg from "pg";
import { startMesh } from "../../scripts/mesh.ts";

const TIMEOUT = 120_000;

const lines: string[] = [];
let printed = Promise.withResolvers<void>();
const mesh = await startMesh({
  own: true,
  free: true,
  instances: { connect: 1, server: 1 },
  env: { LUCKY_LOG_LEVEL: "info" },
  print(line) {
    lines.push(line);
    printed.resolve();
    printed = Promise.withResolvers();
  },
});
after(() => mesh.stop());
const { postgres, rabbit, redis } = mesh.backends!;

/** Waits for a line of a process with all of these parts. */
async function untilPrinted(...parts: readonly string[]): Promise<void> {
  while (!lines.some((line) => parts.every((part) => line.includes(part)))) await printed.promise;
}

/** Sends SIGTERM to all processes at once; asserts that each exits with 0 in time. */
async function assertStops(): Promise<void> {
  await Promise.all(mesh.processes.map((child) => child.kill("SIGTERM")));
  for (const child of mesh.processes)
    assert.equal(child.exitCode, 0, `${child.name}:\n${(await child.ended()).join("\n")}`);
}

/** A process and its descendants. */
function treeOf(pid: number): number[] {
  const listed = execFileSync("ps", ["-e", "-o", "pid=,ppid="], { encoding: "utf8" });
  const rows = listed
    .trim()
    .split("\n")
    .map((row) => row.trim().split(/\s+/).map(Number));
  const below = (parent: number): number[] =>
    rows.filter(([, ppid]) => ppid === parent).flatMap(([child]) => [child!, ...below(child!)]);
  return [pid, ...below(pid)];
}

/**
 * Pauses the backends, like a network that drops all packets. Returns a function that resumes them.
 */
async function freezeBackends(): Promise<() => void> {
  const client = new pg.Client({ connectionString: mesh.postgresUrl });
  await client.connect();
  const { rows } = await client.query("SELECT pg_backend_pid() AS pid");
  const parent = Number(execFileSync("ps", ["-o", "ppid=", String(rows[0].pid)]).toString());
  await client.end();
  const pids = [parent, redis.pid, rabbit.pid].flatMap(treeOf);
  const signal = (name: NodeJS.Signals) => {
    for (const pid of pids) {
      try {
        process.kill(pid, name);
      } catch {
        // The process of a PostgreSQL connection may have ended.
      }
    }
  };
  signal("SIGSTOP");
  return () => signal("SIGCONT");
}

test("every process stops in time and exits with 0 while no backend answers", {
  timeout: TIMEOUT,
}, async () => {
  const thaw = await freezeBackends();
  try {
    await assertStops();
  } finally {
    thaw();
  }
});

test("a start without backends waits and is not ready, ends at once by a signal, and resumes when they are back", {
  timeout: TIMEOUT,
}, async () => {
  await Promise.all([postgres.stop(), redis.kill(), rabbit.kill()]);
  lines.length = 0;
  const waits = (name: string) => untilPrinted(name, '"event":"waiting"');
  const names = mesh.processes.map(({ name }) => name);
  const ended = mesh.processes.map((child) => assert.rejects(child.restart(), /ended/));
  await Promise.all(names.map(waits));
  const states = await Promise.all(
    mesh.opsUrls.map(async (url) => (await fetch(`${url}/readyz`)).status),
  );
  assert.deepEqual(new Set(states), new Set([503]));
  await assertStops();
  await Promise.all(ended);

  lines.length = 0;
  const ready = mesh.processes.map((child) => child.restart());
  await Promise.all(names.map(waits));
  await Promise.all([postgres.restart(), redis.restart(), rabbit.restart()]);
  await Promise.all(ready);
  const waiting = lines.filter((line) => line.includes('"event":"waiting"'));
  const backends = waiting.map((line) => /"backend":"\w+/.exec(line)?.[0]);
  assert.deepEqual(new Set(backends), new Set(['"backend":"PostgreSQL', '"backend":"Redis']));
  assert.equal(waiting.length, names.length);
});

test("every process stops in time and exits with 0 after its backends have gone", {
  timeout: TIMEOUT,
}, async () => {
  await Promise.all([postgres.stop(), redis.kill(), rabbit.kill()]);
  await untilPrinted("auth", '"event":"lines_suppressed","method":', "ListRevocations");
  const failed = lines.filter((line) => line.includes("ListRevocations") && line.includes('"rpc"'));
  assert.ok(failed.length <= 25, `${failed.length} lines`);
  await assertStops();
});
