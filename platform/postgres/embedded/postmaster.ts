import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Launch } from "./account.ts";
import { lendLock } from "./file-lock.ts";
import { IMMEDIATE_SHUTDOWN_MS, stopLeftover } from "./leftover.ts";

/**
 * Time-out of a start without a line of output. A long recovery from the log, as after a crash,
 * writes a line every 10 s.
 */
const START_TIMEOUT_MS = 60_000;
const FAST_SHUTDOWN_MS = 10_000;
/** Wait for leftover backends: they exit by themselves after their postmaster was killed. */
export const LOCK_WAIT_MS = 10_000;
/** Lines of output that an error shows. */
const ERROR_LINES = 20;

/** A clean environment: variables such as PGPORT and PGOPTIONS must not change its behaviour. */
export const ENVIRONMENT = { PATH: process.env.PATH ?? "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" };

export interface PostmasterOptions {
  /** Path of the program postgres. */
  readonly program: string;
  readonly cluster: string;
  /** File whose lock the processes of PostgreSQL hold. */
  readonly lock: string;
  readonly settings: Readonly<Record<string, string>>;
  readonly launch: Launch;
  readonly clock: Clock;
  readonly log: Log;
  /** Ends a start that is not finished. */
  readonly signal?: AbortSignal;
}

/** A running main process of PostgreSQL. */
export interface Postmaster {
  /** Resolves when it has exited. After a kill, its backends may still run for a moment. */
  readonly exited: Promise<{ readonly code: number | null; readonly signal: string | null }>;
  /** Fast shutdown, with a time-out of about 15 s. Idempotent. */
  stop(): Promise<void>;
}

export class StartError extends Error {
  readonly portTaken: boolean;

  constructor(lines: readonly string[]) {
    super(`PostgreSQL did not start: ${lines.join(" · ") || "no output"}`);
    this.portTaken = lines.some((line) => line.includes("Address already in use"));
  }
}

/** Starts PostgreSQL. Resolves when it accepts connections. */
export async function startPostmaster(options: PostmasterOptions): Promise<Postmaster> {
  const { program, cluster, lock, settings, launch, log } = options;
  await stopLeftover({ cluster, log });
  const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const { file, args } = launch.command(program, ["-D", cluster, ...flags]);
  const child = await lendLock(lock, { waitMs: LOCK_WAIT_MS }, (descriptor) =>
    spawn(file, args, {
      ...launch.ids,
      cwd: "/",
      env: ENVIRONMENT,
      stdio: ["ignore", "ignore", "pipe", descriptor],
      // Its own process group: Ctrl-C in a terminal reaches only us, and we stop PostgreSQL last.
      detached: true,
    }),
  );
  const postmaster = stoppable(child, log);
  await accepting(child, options);
  return postmaster;
}

/** Resolves when PostgreSQL accepts connections; logs its output also afterwards. */
function accepting(child: ChildProcess, { clock, log, signal }: PostmasterOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const output: string[] = [];
    const stop = () => child.kill("SIGINT");
    const giveUp = () => {
      child.kill("SIGQUIT");
      failed(new StartError([...output, `no progress for ${START_TIMEOUT_MS / 1_000} s`]));
    };
    let timeout = clock.after(START_TIMEOUT_MS, giveUp);
    let starting = true;
    const settle = () => {
      starting = false;
      timeout.stop();
      signal?.removeEventListener("abort", stop);
    };
    const failed = (error: Error) => {
      settle();
      reject(error);
    };
    signal?.addEventListener("abort", stop);
    if (signal?.aborted) stop();
    createInterface({ input: child.stderr as Readable }).on("line", (line) => {
      log[isAlarming(line) ? "warn" : "debug"]({ event: "postgres", line });
      if (!starting) return;
      if (output.push(line) > ERROR_LINES) output.shift();
      timeout.stop();
      timeout = clock.after(START_TIMEOUT_MS, giveUp);
      if (!line.includes("ready to accept connections")) return;
      settle();
      resolve();
    });
    child.on("error", failed);
    child.on("close", () => failed(new StartError(output)));
  });
}

/** Whether operators need the line: a refused request, or a process that has crashed. */
function isAlarming(line: string): boolean {
  return /^(FATAL|PANIC)|was terminated by signal/.test(line);
}

function stoppable(child: ChildProcess, log: Log): Postmaster {
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
    // The program cannot be started.
    child.once("error", () => resolve({ code: null, signal: null }));
  });
  const stopAtExit = () => child.kill("SIGINT");
  // Stops PostgreSQL also when our process exits without calling stop.
  process.once("exit", stopAtExit);
  void exited.then(() => process.off("exit", stopAtExit));
  const stop = async () => {
    child.kill("SIGINT");
    if (await within(exited, FAST_SHUTDOWN_MS)) return;
    log.warn({ event: "postgres_slow_to_stop" });
    child.kill("SIGQUIT");
    if (!(await within(exited, IMMEDIATE_SHUTDOWN_MS))) child.kill("SIGKILL");
  };
  let stopping: Promise<void> | undefined;
  return {
    exited,
    stop() {
      stopping ??= stop();
      return stopping;
    },
  };
}

async function within(event: Promise<unknown>, ms: number): Promise<boolean> {
  const done = new AbortController();
  const happened = await Promise.race([
    event.then(() => true),
    pause(ms, false, { signal: done.signal }).catch(() => false),
  ]);
  done.abort();
  return happened;
}
