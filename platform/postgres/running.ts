import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import pg from "pg";

const CONNECT_TIMEOUT_MS = 5_000;

/**
 * The URL of the PostgreSQL that runs on the data folder of `startEmbedded`, in any process of this
 * machine; undefined when none answers. The URL contains the password: not for logs.
 */
export async function findRunning(dataDir: string): Promise<string | undefined> {
  const folder = resolve(dataDir);
  // Line 4 of the file is the port. A file without that line belongs to a PostgreSQL that starts.
  const state = await readOrEmpty(join(folder, "cluster", "postmaster.pid"));
  const port = Number(state.split("\n")[3]);
  const password = await readOrEmpty(join(folder, "password"));
  if (!(port > 0) || password === "") return undefined;
  const url = `postgresql://lucky:${password}@127.0.0.1:${port}/lucky`;
  return (await answers(url)) ? url : undefined;
}

/** Whether a PostgreSQL with this password answers. After a crash, the port may be another's. */
async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  client.on("error", () => {});
  try {
    await client.connect();
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => {});
  }
}

function readOrEmpty(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}
