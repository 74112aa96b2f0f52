import { rmSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEmbedded } from "#platform/postgres/embedded.ts";
import { freePorts } from "../../scripts/ports.ts";
import { type Launched, launchRabbit, launchRedis, runs } from "../../scripts/servers.ts";
import { quiet } from "./postgres.ts";

/** A server of a test's own: on a free port, with a folder that goes when it is stopped for good. */
export interface Backend {
  readonly url: string;
  readonly port: number;
  /** Of the running server, or of the last one. */
  readonly pid: number;
  readonly dir: string;
  /** Ends it as an operator would. What is durable stays. Idempotent. */
  stop(): Promise<void>;
  /** Ends it as a crash would. What is durable stays. Idempotent. */
  kill(): Promise<void>;
  /** Stops it if it runs, and starts it again with the same port and data; resolves when it answers. */
  restart(): Promise<void>;
  /** Ends it for good and removes its folder. Idempotent. */
  close(): Promise<void>;
}

const STOP_WITHIN_MS = 20_000;

/** Starts a Redis that keeps nothing over a restart. */
export async function startRedis(): Promise<Backend> {
  const [port] = (await freePorts(1)) as [number];
  return startBackend("redis", port, (dir) => launchRedis({ dir, port, detached: true }));
}

/** Starts a RabbitMQ; what is durable in it survives a restart and a kill. */
export async function startRabbit(): Promise<Backend> {
  const [port, mapperPort, erlangPort] = (await freePorts(3)) as [number, number, number];
  return startBackend("rabbitmq", port, (dir) =>
    launchRabbit({ dir, port, mapperPort, erlangPort, detached: true }),
  );
}

/** A PostgreSQL of a test's own that can be stopped and started again. */
export interface RestartablePostgres {
  /** The same after a restart. */
  readonly url: string;
  /** Ends it; its data stays. Idempotent. */
  stop(): Promise<void>;
  /** Stops it if it runs, and starts it again with the same port and data. */
  restart(): Promise<void>;
  /** Ends it for good and removes its folder. Idempotent. */
  close(): Promise<void>;
}

/** Starts an empty PostgreSQL that writes through to the disk, as in production. */
export async function startPostgres(): Promise<RestartablePostgres> {
  const [port] = (await freePorts(1)) as [number];
  const folder = await mkdtemp(join(tmpdir(), "lucky-postgres-"));
  // PostgreSQL runs under another account when the test runs as root.
  await chmod(folder, 0o711);
  const start = () => startEmbedded({ dataDir: folder, port, log: quiet });
  let running = await start();
  return {
    url: running.url,
    stop: () => running.stop(),
    async restart() {
      await running.stop();
      running = await start();
    },
    async close() {
      await running.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Turns a signal into an orderly exit, so that what listens for it can tidy up. */
function interrupted(): void {
  process.exit(1);
}

async function startBackend(
  name: string,
  port: number,
  launch: (dir: string) => Promise<Launched>,
): Promise<Backend> {
  const dir = await mkdtemp(join(tmpdir(), `lucky-${name}-`));
  let running = await launch(dir);

  const end = async (signal: NodeJS.Signals) => {
    const [server, ...needed] = running.processes;
    if (runs(server)) {
      const ended = new Promise<void>((resolve) => server.once("exit", () => resolve()));
      const late = setTimeout(() => server.kill("SIGKILL"), STOP_WITHIN_MS);
      server.kill(signal);
      await ended;
      clearTimeout(late);
    }
    for (const child of needed) child.kill("SIGKILL");
  };
  // A test process that ends without stopping it leaves nothing behind.
  const abandon = () => {
    for (const child of running.processes) child.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  };
  process.once("exit", abandon);
  process.once("SIGINT", interrupted);
  process.once("SIGTERM", interrupted);

  return {
    url: running.url,
    port,
    get pid() {
      return running.processes[0].pid ?? 0;
    },
    dir,
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
    async restart() {
      await end("SIGTERM");
      running = await launch(dir);
    },
    async close() {
      await end("SIGKILL");
      process.off("exit", abandon);
      process.off("SIGINT", interrupted);
      process.off("SIGTERM", interrupted);
      await rm(dir, { recursive: true, force: true });
    },
  };
}
