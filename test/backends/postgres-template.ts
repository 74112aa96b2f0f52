import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import {
  access,
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
} from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { assignBuckets } from "#platform/buckets/assign.ts";
import type { Log } from "#platform/log.ts";
import { findAccount } from "#platform/postgres/embedded/account.ts";
import { startEmbedded } from "#platform/postgres/embedded.ts";
import { migrate } from "#platform/postgres/migrate.ts";
import { stopWithThisProcess } from "./postgres-guard.ts";

const run = promisify(execFile);

const ROOT = join(import.meta.dirname, "../..");
const CACHE = join(ROOT, "node_modules/.cache/lucky-test-postgres");
const MIGRATIONS = join(ROOT, "prisma/migrations");

/** Outdated templates stay this long (ms): a running test of another branch may be copying one. */
const OUTDATED_MS = 86_400_000;

/**
 * Copies a migrated cluster and its password to the data folder of a PostgreSQL that never started.
 * initdb and the migrations take more than a second, the copy some 50 ms. The first call creates the
 * template, under node_modules.
 *
 * Copies nothing when this user may not write there: then PostgreSQL starts without a cluster, and
 * creates it.
 */
export async function copyPostgresTemplate(folder: string, log: Log): Promise<void> {
  const template = await findOrCreateTemplate(log).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "EACCES" || error.code === "EROFS") return undefined;
    throw error;
  });
  if (template === undefined) return;
  // -p preserves the owner, which is PostgreSQL's account when the test runs as root.
  await run("cp", ["-Rp", join(template, "cluster"), join(template, "password"), folder]);
}

/** The folder of the template. A template is complete as soon as it has its name. */
async function findOrCreateTemplate(log: Log): Promise<string> {
  const key = await templateKey();
  const template = join(CACHE, key);
  if (await exists(template)) return template;
  await mkdir(CACHE, { recursive: true });
  const unfinished = await mkdtemp(join(CACHE, "new-"));
  try {
    await createTemplate(unfinished, log);
    await rename(unfinished, template).catch(async (error) => {
      // Race: another test process has created it.
      if (!(await exists(template))) throw error;
    });
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
  await removeOutdated(key);
  return template;
}

/** Unlike the PostgreSQL of a test, this one syncs: the template outlives a crash of the machine. */
async function createTemplate(folder: string, log: Log): Promise<void> {
  // PostgreSQL runs under another account when the test runs as root.
  await chmod(folder, 0o711);
  const postgres = await startEmbedded({ dataDir: folder, log });
  const guard = stopWithThisProcess(join(folder, "cluster", "postmaster.pid"));
  try {
    await migrate({ url: postgres.url, log });
    await assignBuckets([{ url: postgres.url }]);
  } finally {
    guard.kill("SIGKILL");
    await postgres.stop();
  }
}

/**
 * Differs for other migrations, other packages (PostgreSQL's version), other code that creates a
 * cluster, and other owners: this user reads the password, PostgreSQL's account owns the cluster.
 */
async function templateKey(): Promise<string> {
  const migrations = (await readdir(MIGRATIONS)).sort();
  const files = [
    "package-lock.json",
    "platform/buckets/assign.ts",
    "platform/postgres/embedded.ts",
    "platform/postgres/migrate.ts",
    ...migrations.map((file) => `prisma/migrations/${file}`),
  ];
  const owners = [process.getuid?.(), (await findAccount())?.uid];
  const hash = createHash("sha256").update(`${owners.join(" ")}\0`);
  for (const file of files) hash.update(`${file}\0`).update(await readFile(join(ROOT, file)));
  return hash.digest("hex").slice(0, 16);
}

/** Removes old templates, and those that a killed process left unfinished. */
async function removeOutdated(key: string): Promise<void> {
  for (const name of await readdir(CACHE)) {
    const path = join(CACHE, name);
    // Another test process may have removed it already.
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: 0 }));
    const outdated = name !== key && mtimeMs < Date.now() - OUTDATED_MS;
    if (outdated) await rm(path, { recursive: true, force: true });
  }
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
