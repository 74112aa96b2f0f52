import { rmSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEmbedded } from "#platform/postgres/embedded.ts";
import { freePorts } from "../../scripts/ports.ts";
import {
  type Launched,
  launchNginx,
  launchPgbouncer,
  launchPrometheus,
  launchRabbit,
  launchRedis,
  runs,
} from "../../scripts/servers.ts";
import { quiet } from "./postgres.ts";

/** A server that one test starts for itself, on a free port. `close` removes its folder. */
export interface Backend {
  readonly url: string;
  readonly port: number;
  /** Process id of the running server; while it is stopped, that of the last one. */
  readonly pid: number;
  readonly dir: string;
  /** Stops it in order (SIGTERM); kills it after 20 s. Durable data stays. Idempotent. */
  stop(): Promise<void>;
  /** Kills it as a crash would (SIGKILL). Durable data stays. Idempotent. */
  kill(): Promise<void>;
  /**
   * Restarts it with the same port and data; stops it first if it runs. Resolves when it answers.
   */
  restart(): Promise<void>;
  /** Stops it and removes its folder. Idempotent. */
  close(): Promise<void>;
}

const STOP_TIMEOUT_MS = 20_000;

/** Starts a Redis that loses its data at a restart. */
export async function startRedis(): Promise<Backend> {
  const [port] = (await freePorts(1)) as [number];
  return startBackend("redis", port, (dir) => launchRedis({ dir, port, detached: true }));
}

/** Starts a RabbitMQ. Its durable queues and messages survive a restart and a kill. */
export async function startRabbit(): Promise<Backend> {
  const [port, mapperPort, erlangPort] = (await freePorts(3)) as [number, number, number];
  return startBackend("rabbitmq", port, (dir) =>
    launchRabbit({ dir, port, mapperPort, erlangPort, detached: true }),
  );
}

/** Starts a Prometheus with this prometheus.yml. */
export async function startPrometheus(configuration: string): Promise<Backend> {
  const [port] = (await freePorts(1)) as [number];
  return startBackend("prometheus", port, (dir) =>
    launchPrometheus({ dir, port, configuration, detached: true }),
  );
}

/** Starts a PgBouncer in transaction mode in front of the database of the URLs. */
export async function startPgbouncer(
  urls: readonly string[],
  settings: Readonly<Record<string, string>> = {},
): Promise<Backend> {
  const [port] = (await freePorts(1)) as [number];
  return startBackend("pgbouncer", port, (dir) =>
    launchPgbouncer({ dir, port, urls, settings, detached: true }),
  );
}

/** Starts an nginx. Its configuration depends on its port and on its folder. */
export async function startNginx(
  configure: (at: { readonly port: number; readonly dir: string }) => string,
  options: { readonly header?: string } = {},
): Promise<Backend> {
  const [port] = (await freePorts(1)) as [number];
  return startBackend("nginx", port, (dir) =>
    launchNginx({
      ...options,
      ...{ dir, port, configuration: configure({ port, dir }), detached: true },
    }),
  );
}

/** A PostgreSQL that one test starts for itself and can restart. */
export interface RestartablePostgres {
  /** Stays the same over a restart. */
  readonly url: string;
  /** Stops it; its data stays. Idempotent. */
  stop(): Promise<void>;
  /** Restarts it with the same port and data; stops it first if it runs. */
  restart(): Promise<void>;
  /** Stops it and removes its folder. Idempotent. */
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

/** Turns a signal into an exit, so that the listeners of "exit" can clean up. */
function exitOnSignal(): void {
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
    const [server, ...helpers] = running.processes;
    if (runs(server)) {
      const ended = new Promise<void>((resolve) => server.once("exit", () => resolve()));
      const killTimer = setTimeout(() => server.kill("SIGKILL"), STOP_TIMEOUT_MS);
      server.kill(signal);
      await ended;
      clearTimeout(killTimer);
    }
    for (const child of helpers) child.kill("SIGKILL");
  };
  // Cleans up when the test process exits without having closed the server.
  const abandon = () => {
    for (const child of running.processes) child.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  };
  process.once("exit", abandon);
  process.once("SIGINT", exitOnSignal);
  process.once("SIGTERM", exitOnSignal);

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
      process.off("SIGINT", exitOnSignal);
      process.off("SIGTERM", exitOnSignal);
      await rm(dir, { recursive: true, force: true });
    },
  };
}
