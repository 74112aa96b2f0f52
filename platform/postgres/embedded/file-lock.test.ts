import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { lendLock, lockFile } from "./file-lock.ts";

const AT_ONCE = { waitMs: 0 };
const module = JSON.stringify(new URL("file-lock.ts", import.meta.url).href);

async function makePath(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "lucky-lock-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return join(folder, "lock");
}

/** Starts a process that locks the file and keeps the lock. */
async function lockElsewhere(t: TestContext, path: string): Promise<ChildProcess> {
  const program = `
    import { lockFile } from ${module};
    console.log(await lockFile(${JSON.stringify(path)}, { waitMs: 0 }));
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => child.kill("SIGKILL"));
  const [line] = await once(createInterface({ input: child.stdout }), "line");
  assert.match(line, /^\d+$/);
  return child;
}

test("a lock excludes other processes until its holder ends, even by SIGKILL", async (t) => {
  const path = await makePath(t);
  const holder = await lockElsewhere(t, path);
  assert.equal(await lockFile(path, AT_ONCE), undefined);
  holder.kill("SIGKILL");
  await once(holder, "close");
  const own = await lockFile(path, AT_ONCE);
  assert.ok(own !== undefined);
  // Another part of the same process is excluded as well.
  assert.equal(await lockFile(path, AT_ONCE), undefined);
  closeSync(own);
});

test("a lent lock is held by the child process until that one ends", async (t) => {
  const path = await makePath(t);
  const child = await lendLock(path, AT_ONCE, (descriptor) =>
    spawn(process.execPath, ["--eval", "setInterval(() => {}, 1000)"], {
      stdio: ["ignore", "ignore", "ignore", descriptor],
    }),
  );
  t.after(() => child.kill("SIGKILL"));
  await once(child, "spawn");
  assert.equal(await lockFile(path, AT_ONCE), undefined);
  await assert.rejects(
    lendLock(path, AT_ONCE, () => assert.fail("the lock was lent twice")),
    /cannot see still runs on .*another container/,
  );
  child.kill("SIGKILL");
  const own = await lockFile(path, { waitMs: 10_000 });
  assert.ok(own !== undefined);
  closeSync(own);
});
