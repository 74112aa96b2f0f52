import { chmod, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Header } from "#platform/backup/format.ts";
import { checkMigrations, loadBackup } from "#platform/backup/load-backup.ts";
import { checkBackup } from "#platform/backup/read-backup.ts";
import type { Log } from "#platform/log.ts";
import { onDataFolder } from "#platform/postgres/embedded/data-folder.ts";
import { holdFolder } from "#platform/postgres/embedded/held-folder.ts";
import { startEmbedded } from "#platform/postgres/embedded.ts";
import { keyFingerprint, readKey, storeKey } from "./auth/keys/key-file.ts";
import { contentOf, exists, openDataFolder } from "./backup.ts";
import type { AllConfig, Environment } from "./runtime.ts";

export interface RestoreOptions {
  readonly env: Environment;
  /** Path of the backup. */
  readonly file: string;
  /** Path of a copy of auth.key; the one in the data folder, or the settings, when absent. */
  readonly keyFile?: string | undefined;
  /** Whether a backup of a damaged log is restored. */
  readonly damaged?: boolean;
  readonly signal: AbortSignal;
}

/**
 * Creates the database of a data folder from a backup. The whole backup is checked before anything is
 * written, and the database appears complete or not at all. No start and no other restore can use the
 * folder meanwhile. Returns a report. Rejects with an error for operators.
 */
export async function restore({
  env,
  file: path,
  keyFile,
  damaged = false,
  signal,
}: RestoreOptions): Promise<string> {
  const startedAt = performance.now();
  const { dataDir, config, log } = openDataFolder(env, "restore");
  const file = resolve(path);
  const target = join(dataDir, "postgres");
  const unfinished = join(dataDir, "postgres.restoring");
  await refuseDatabase(dataDir, target);
  const { header, footer } = await checkBackup(file, signal);
  await checkMigrations(header);
  const { damage = [] } = header;
  if (damage.length > 0 && !damaged)
    throw new Error(
      [
        `The backup ${file} is of a damaged log. ${damage[0]}`,
        ...damage.slice(1),
        "Use an earlier backup, or accept the damage with --damaged.",
      ].join("\n"),
    );
  const findOurs = () => findKey({ file, header, config, dataDir, keyFile });
  await findOurs();

  // Nothing was written yet. From here on, no start and no other restore can use the folder.
  const held = await onDataFolder(dataDir, () => holdFolder(target));
  try {
    // Race: another process may have used the folder while the backup was read.
    await refuseDatabase(dataDir, target);
    if (await exists(unfinished))
      throw new Error(`A restore into ${dataDir} was killed. Remove ${unfinished} first.`);
    const key = await findOurs();
    await loadInto({ unfinished, target, file, header, log, signal });
    if (key.store) await storeOnly(join(dataDir, "auth.key"), key.value);
    await flush(dataDir);
  } finally {
    held.release();
  }
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
  return [
    `Restored:  ${file}, in ${seconds} s`,
    `Snapshot:  ${header.takenAt}`,
    `Version:   migration ${header.migrations.at(-1)}`,
    `Content:   ${contentOf(footer)}`,
    `Data:      ${dataDir}`,
    ...damage,
    "",
    "Start Lucky with: npm start",
  ].join("\n");
}

/** Loads the backup into an unfinished folder, and moves the complete database into the target. */
async function loadInto(options: {
  readonly unfinished: string;
  readonly target: string;
  readonly file: string;
  readonly header: Header;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { unfinished, target, file, header, log, signal } = options;
  await mkdir(unfinished);
  try {
    // Mode 711: PostgreSQL may run under another account, which must reach its own folder inside.
    await chmod(unfinished, 0o711);
    const postgres = await startEmbedded({ dataDir: unfinished, log });
    try {
      await loadBackup({ file, header, url: postgres.url, log, signal });
    } finally {
      await postgres.stop();
    }
    signal.throwIfAborted();
    // The folder "cluster" marks a complete database, so it is moved last.
    for (const name of ["password", "cluster"])
      await rename(join(unfinished, name), join(target, name));
    await flush(target);
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}

/** Stores the key of the restored database. Throws an error for operators. */
async function storeOnly(path: string, key: string): Promise<void> {
  const fault = await storeKey(path, key).then(
    (stored) => (stored === key ? undefined : "the file contains another key"),
    (error: Error) => error.message,
  );
  if (fault === undefined) return;
  throw new Error(
    `The database is restored, but its key is not in ${path}: ${fault}. Copy the file auth.key of the old data folder there before you start Lucky.`,
  );
}

/** Files of the folder of a database that a start or a restore leaves behind without a database. */
const WITHOUT_DATABASE = ["owner", "password"];

/** Throws when the data folder has a database. */
async function refuseDatabase(dataDir: string, target: string): Promise<void> {
  const files = await readdir(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  if (files.some((name) => !WITHOUT_DATABASE.includes(name)))
    throw new Error(
      `The data folder ${dataDir} already has a database. Set LUCKY_DATA_DIR to a new folder, or move ${target} away.`,
    );
}

interface FoundKey {
  readonly value: string;
  /** Whether the data folder gets a copy. */
  readonly store: boolean;
}

/** Finds the key-encryption key of the backup. Throws when it is missing or another one. */
async function findKey(options: {
  readonly file: string;
  readonly header: Header;
  readonly config: AllConfig;
  readonly dataDir: string;
  readonly keyFile: string | undefined;
}): Promise<FoundKey> {
  const { file, header, config, dataDir, keyFile } = options;
  const ownFile = join(dataDir, "auth.key");
  const { keyEncryptionKey: configured, keyEncryptionKeyBefore: before } = config.auth;
  const own = configured || (await readKey(ownFile));
  const place = configured ? "LUCKY_AUTH_KEY_ENCRYPTION_KEY" : ownFile;
  const given = keyFile === undefined ? undefined : await readKey(resolve(keyFile));
  if (keyFile !== undefined && given === undefined)
    throw new Error(`The key file ${resolve(keyFile)} does not exist.`);
  if (own && given !== undefined && own !== given)
    throw new Error(`${place} and ${resolve(keyFile!)} are different keys. Remove the wrong one.`);
  const value = own || given;
  if (!value)
    throw new Error(
      `The key-encryption key is missing: ${file} does not contain it, and without it the values that it encrypts are lost. ` +
        `Copy the file auth.key of the old data folder to ${ownFile}, or name a copy: npm start -- restore ${file} --key <auth.key>`,
    );
  const fingerprints = [value, ...(before ? [before] : [])].map(keyFingerprint);
  if (header.keyFingerprint !== "" && !fingerprints.includes(header.keyFingerprint))
    throw new Error(
      `${own ? place : resolve(keyFile!)} is not the key-encryption key of this backup. Use the file auth.key of the data folder that was backed up.`,
    );
  return { value, store: !own };
}

/** Makes the new name of a folder survive a power failure. */
async function flush(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
