/** Runs a PostgreSQL on a data folder until SIGINT or SIGTERM. Arguments: `<folder> <port>`. */
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createLog } from "#platform/log.ts";
import { startEmbedded } from "#platform/postgres/embedded.ts";

const [dataDir = "", port = ""] = process.argv.slice(2);
const log = createLog({ service: "backends", instanceId: "postgres", level: "info" });
const postgres = await startEmbedded({ dataDir, port: Number(port), log });

const ended = new Promise((resolve) => {
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, resolve);
});
// backends.ts polls for this file; the rename makes its appearance atomic.
const file = join(dataDir, "url");
await writeFile(`${file}.new`, postgres.url, { mode: 0o600 });
await rename(`${file}.new`, file);

// A signal listener alone does not keep the process alive.
const keepAlive = setInterval(() => {}, 60_000);
const failure = await Promise.race([ended, postgres.failed]);
if (failure instanceof Error) console.error(failure.message);
await postgres.stop();
clearInterval(keepAlive);
if (failure instanceof Error) process.exitCode = 1;
