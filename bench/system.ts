import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLog } from "../platform/log.ts";
import { startEmbedded } from "../platform/postgres/embedded.ts";
import { startAllOrNothing } from "../platform/started.ts";
import { startChild } from "../scripts/child.ts";
import { startMesh } from "../scripts/mesh.ts";
import { freePorts } from "../scripts/ports.ts";

/** Everything in one process, or a process a service against Redis, RabbitMQ and PostgreSQL. */
export type Mode = "embedded" | "mesh";

/** A Lucky that was started to be measured. */
export interface System {
  readonly url: string;
  readonly postgresUrl: string;
  /** Names of its own processes, by process id. */
  readonly processes: ReadonlyMap<number, string>;
  stop(): Promise<void>;
}

/**
 * What differs from the defaults: limits that protect against a single user are out of the way, and
 * registering some hundred users does not take minutes. Nothing on the path of a message.
 */
export const settings: Readonly<Record<string, string>> = {
  LUCKY_LOG_LEVEL: "warn",
  LUCKY_AUTH_PASSWORD_KEY_BITS: "2048",
  LUCKY_AUTH_HASH_MEMORY_KIB: "8192",
  LUCKY_AUTH_HASH_ITERATIONS: "1",
  LUCKY_LIMITS_CREDENTIAL_PER_MINUTE: "1000000",
  LUCKY_LIMITS_READ_PER_SECOND: "1000000",
  LUCKY_CONNECT_FRAMES_PER_SECOND: "1000000",
  LUCKY_CONNECT_FRAMES_BURST: "1000000",
  LUCKY_CONNECT_DRAIN_MS: "100",
  LUCKY_CONNECT_MOVE_SPREAD_MS: "0",
  LUCKY_GATEWAY_DRAIN_MS: "100",
};

/** Starts Lucky in processes of its own, on free ports, with data that goes when it stops. */
export function startSystem(mode: Mode): Promise<System> {
  return mode === "mesh" ? startMeshed() : startInOne();
}

async function startMeshed(): Promise<System> {
  const mesh = await startMesh({ own: true, free: true, env: ownSettings(), print: console.error });
  return {
    url: mesh.gatewayUrl,
    postgresUrl: mesh.postgresUrl,
    processes: new Map(mesh.processes.map(({ pid, name }) => [pid, name])),
    stop: () => mesh.stop(),
  };
}

function startInOne(): Promise<System> {
  return startAllOrNothing(async (started) => {
    const dataDir = await mkdtemp(join(tmpdir(), "lucky-bench-"));
    started.push(() => rm(dataDir, { recursive: true, force: true }));
    const log = createLog({ service: "bench", instanceId: "bench", level: "warn" });
    const postgres = await startEmbedded({ dataDir: join(dataDir, "postgres"), log });
    started.push(() => postgres.stop());
    const [gatewayPort, connectPort, opsPort] = await freePorts(3);
    const all = startChild({
      name: "all",
      script: "services/all.ts",
      env: {
        PATH: process.env.PATH,
        ...ownSettings(),
        LUCKY_DATA_DIR: dataDir,
        LUCKY_POSTGRES_URL: postgres.url,
        LUCKY_GATEWAY_PORT: String(gatewayPort),
        LUCKY_CONNECT_PORT: String(connectPort),
        LUCKY_OPS_PORT: String(opsPort),
      },
      readyUrl: `http://127.0.0.1:${opsPort}/readyz`,
      print: () => {},
    });
    started.push(() => all.stop(20_000));
    await all.ready();
    return {
      url: `http://127.0.0.1:${gatewayPort}`,
      postgresUrl: postgres.url,
      processes: new Map([[all.pid, "all"]]),
      stop: () => started.stop(),
    };
  });
}

/** Settings of the environment come on top, so that a variant can be measured. */
function ownSettings(): Record<string, string | undefined> {
  const names = Object.keys(process.env).filter((name) => name.startsWith("LUCKY_"));
  return { ...settings, ...Object.fromEntries(names.map((name) => [name, process.env[name]])) };
}
