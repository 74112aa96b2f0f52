import { access } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Footer } from "#platform/backup/format.ts";
import { writeBackup } from "#platform/backup/write-backup.ts";
import { createLog, type Log } from "#platform/log.ts";
import { startEmbedded } from "#platform/postgres/embedded.ts";
import { findRunning } from "#platform/postgres/running.ts";
import { keyFingerprint, readKey } from "./auth/keys/key-file.ts";
import { type AllConfig, type Environment, loadAllConfig } from "./runtime.ts";

export interface BackupOptions {
  readonly env: Environment;
  /** Path of the backup. */
  readonly file: string;
  readonly signal: AbortSignal;
}

/**
 * Writes a backup of the data folder, from the PostgreSQL that runs on it, or one that it starts.
 * Returns a report. Rejects with an error for operators, also after it wrote the backup of a damaged
 * log.
 */
export async function backup({ env, file: path, signal }: BackupOptions): Promise<string> {
  const startedAt = performance.now();
  const { dataDir, config, log } = openDataFolder(env, "backup");
  const file = resolve(path);
  const folder = join(dataDir, "postgres");
  if (!(await exists(join(folder, "cluster"))))
    throw new Error(`The data folder ${dataDir} has no database.`);
  const keyFile = join(dataDir, "auth.key");
  const key = config.auth.keyEncryptionKey || (await readKey(keyFile));
  const postgres = await openPostgres(folder, log);
  try {
    const { header, footer, bytes } = await writeBackup({
      url: postgres.url,
      file,
      keyFingerprint: key ? keyFingerprint(key) : "",
      signal,
    });
    const secret = config.auth.keyEncryptionKey ? "LUCKY_AUTH_KEY_ENCRYPTION_KEY" : keyFile;
    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
    const report = [
      `Backup:    ${file} (${megabytes(bytes)}, ${seconds} s)`,
      `Snapshot:  ${header.takenAt}`,
      `Version:   migration ${header.migrations.at(-1)}`,
      `Content:   ${contentOf(footer)}`,
      "",
      `The backup does not contain the key-encryption key. Keep a copy of it (${secret}) in another place:`,
      "a restore needs it.",
    ];
    if (header.damage === undefined) return report.join("\n");
    const remedy = `The backup was written with what is left. To restore it: npm start -- restore ${file} --damaged`;
    throw new Error([...header.damage, remedy, "", ...report].join("\n"));
  } finally {
    await postgres.stop();
  }
}

/** The running PostgreSQL of the folder, which stays, or a started one. */
async function openPostgres(
  dataDir: string,
  log: Log,
): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const url = await findRunning(dataDir);
  return url === undefined ? startEmbedded({ dataDir, log }) : { url, stop: async () => {} };
}

/** The settings of the data folder. Throws when they name another database. */
export function openDataFolder(
  env: Environment,
  command: "backup" | "restore",
): { readonly dataDir: string; readonly config: AllConfig; readonly log: Log } {
  const config = loadAllConfig({ LUCKY_LOG_LEVEL: "warn", ...env });
  const urls = [config.platform, config.auth, config.server].map(({ postgresUrl }) => postgresUrl);
  if (urls.some((url) => url !== ""))
    throw new Error(
      `The settings name a PostgreSQL of your own, and ${command} is for the one that Lucky starts. Use PostgreSQL's own tools: docs/administration.md, section "Backup".`,
    );
  const log = createLog({ service: command, instanceId: command, level: config.platform.logLevel });
  return { dataDir: resolve(config.platform.dataDir), config, log };
}

/** The most important numbers of rows, in words. */
export function contentOf({ rows }: Footer): string {
  const of = (table: string) => (rows[table] ?? 0).toLocaleString("en");
  return `${of("auth.account")} accounts, ${of("auth.login")} logins, ${of("im.conversation")} conversations, ${of("im.entry")} entries`;
}

export function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function megabytes(bytes: number): string {
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}
