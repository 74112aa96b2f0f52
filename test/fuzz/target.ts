import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startAllOrNothing } from "#platform/process/started.ts";
import { startChild } from "../../scripts/child.ts";
import { freePorts } from "../../scripts/ports.ts";
import { startTestPostgres } from "../backends/postgres.ts";
import { Finding } from "./finding.ts";

/** A server in a process of its own, so that its crash and its memory can be seen. */
export interface Target {
  /** Address of the gateway: "http://127.0.0.1:port". */
  readonly url: string;
  readonly port: number;
  /** Address of connect's own WebSockets. */
  readonly connectUrl: string;
  readonly connectPort: number;
  /** Takes the lines that the process printed and that tell of a fault: errors, stack traces. */
  takeFaults(): string[];
  /** Opens a connection to one of its ports. Throws a Finding when it does not listen any more. */
  dial(port: number): Promise<Socket>;
  /** Resolves with the last lines of the process when it has ended. */
  ended(): Promise<readonly string[]>;
  /** Kills the process. */
  kill(): Promise<void>;
  /** Bytes that the process uses now. */
  memory(): Promise<Memory>;
  stop(): Promise<void>;
}

export interface Memory {
  readonly residentBytes: number;
  readonly heapBytes: number;
}

/** No rate limits, cheap password hashes, tokens that outlive the longest run. */
const SETTINGS: Readonly<Record<string, string>> = {
  LUCKY_LOG_LEVEL: "warn",
  LUCKY_GATEWAY_TRUSTED_PROXIES: "127.0.0.0/8",
  LUCKY_AUTH_PASSWORD_KEY_BITS: "2048",
  LUCKY_AUTH_HASH_MEMORY_KIB: "8192",
  LUCKY_AUTH_HASH_ITERATIONS: "1",
  LUCKY_AUTH_PASSWORD_MIN_SCORE: "0",
  LUCKY_SERVER_CACHED_MEMBERSHIPS: "10000",
  LUCKY_SERVER_CACHED_USERS: "10000",
  LUCKY_AUTH_ACCESS_TOKEN_SECONDS: "86400",
  LUCKY_LIMITS_CREDENTIAL_PER_MINUTE: "1000000",
  LUCKY_LIMITS_READ_PER_SECOND: "1000000",
  LUCKY_LIMITS_WRITE_PER_SECOND: "1000000",
  LUCKY_LIMITS_SEND_PER_SECOND: "1000000",
  LUCKY_CONNECT_FRAMES_PER_SECOND: "1000000",
  LUCKY_CONNECT_FRAMES_BURST: "1000000",
  LUCKY_CONNECT_MAX_FRAME_BYTES: "4096",
  LUCKY_CONNECT_DRAIN_MS: "0",
  LUCKY_CONNECT_MOVE_SPREAD_MS: "0",
  LUCKY_GATEWAY_DRAIN_MS: "0",
};

/** A module that collects garbage, as a URL. */
const COLLECT_EACH_SECOND = "data:text/javascript,setInterval(globalThis.gc, 1000).unref()";

const MAX_FAULT_LINES = 20;

/** A line of the log that is no fault. */
const HARMLESS = /^all\s+\{"level":"(?:trace|debug|info|warn)"/;

/** Starts all services in one process, on free ports, with a PostgreSQL of its own. */
export function startTarget(): Promise<Target> {
  return startAllOrNothing(async (started) => {
    const postgres = await startTestPostgres({ after: (close) => started.push(close) });
    const dataDir = await mkdtemp(join(tmpdir(), "lucky-fuzz-"));
    started.push(() => rm(dataDir, { recursive: true, force: true }));
    const [port, connectPort, opsPort] = (await freePorts(3)) as [number, number, number];
    const faults: string[] = [];
    let ready = false;
    const all = startChild({
      name: "all",
      script: "services/all.ts",
      // The stack of a warning leads to its cause. The collections make the heap comparable: without
      // them it grows to several times its live size, whatever the inputs are.
      nodeArguments: ["--trace-warnings", "--expose-gc", "--import", COLLECT_EACH_SECOND],
      env: {
        PATH: process.env.PATH,
        ...SETTINGS,
        LUCKY_DATA_DIR: dataDir,
        LUCKY_POSTGRES_URL: postgres.url,
        LUCKY_GATEWAY_PORT: String(port),
        LUCKY_CONNECT_PORT: String(connectPort),
        LUCKY_OPS_PORT: String(opsPort),
      },
      readyUrl: `http://127.0.0.1:${opsPort}/readyz`,
      print: (line) => {
        if (ready && !HARMLESS.test(line)) faults.push(line);
      },
    });
    const killNow = () => void all.kill("SIGKILL");
    process.once("exit", killNow);
    started.push(async () => {
      ready = false;
      process.off("exit", killNow);
      await all.stop(20_000);
    });
    await all.ready();
    ready = true;
    return {
      url: `http://127.0.0.1:${port}`,
      port,
      connectUrl: `http://127.0.0.1:${connectPort}`,
      connectPort,
      takeFaults: () => faults.splice(0, MAX_FAULT_LINES),
      dial,
      ended: () => all.ended(),
      kill: () => all.kill("SIGKILL"),
      memory: () => memoryOf(`http://127.0.0.1:${opsPort}/metrics`),
      stop: () => started.stop(),
    };
  });
}

function dial(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1" });
    socket.once("connect", () => {
      // The server may reset the connection at any time.
      socket.on("error", () => {});
      resolve(socket);
    });
    socket.once("error", ({ message }) => {
      reject(new Finding(`the server does not accept connections: ${message}`));
    });
  });
}

async function memoryOf(metricsUrl: string): Promise<Memory> {
  const page = await (await fetch(metricsUrl)).text();
  const value = (name: string) => Number(new RegExp(`^${name} (\\S+)$`, "m").exec(page)?.[1]);
  return {
    residentBytes: value("process_resident_memory_bytes"),
    heapBytes: value("nodejs_heap_size_used_bytes"),
  };
}
