import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";

const ownRoot = join(import.meta.dirname, "..");
const READY_TIMEOUT_MS = 60_000;
const POLL_INTERVAL_MS = 50;
const MAX_LAST_LINES = 20;

export interface ChildOptions {
  /** Prefix of each printed line. */
  readonly name: string;
  /** Path from the root, such as "services/auth/main.ts". */
  readonly script: string;
  /** Folder of the sources; this repository when absent. */
  readonly root?: string | undefined;
  readonly env: NodeJS.ProcessEnv;
  /** Arguments for Node itself, such as a module to load first. */
  readonly nodeArguments?: readonly string[];
  /** Maximum open files of the process; the limit of this process when absent. */
  readonly openFiles?: number;
  /** URL that answers 200 when the process is ready. */
  readonly readyUrl: string;
  readonly print: (line: string) => void;
}

/** A child process that can be restarted. */
export interface Child {
  readonly name: string;
  /** Id of the running process, or of the last one. */
  readonly pid: number;
  /** Exit code of the last process; null while it runs, and when a signal ended it. */
  readonly exitCode: number | null;
  /**
   * Sends a signal. Resolves when the process has ended, or at once for SIGSTOP and SIGCONT, which
   * do not end it.
   */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Resolves with the last lines of the running process when it has ended. */
  ended(): Promise<readonly string[]>;
  /**
   * Restarts the process, stopping it first if it runs, and waits until it is ready. With `root`, it
   * runs the sources of that folder from now on.
   */
  restart(root?: string): Promise<void>;
  /**
   * Waits until the process is ready. Rejects with its last lines when it ends first, or after 60
   * s.
   */
  ready(): Promise<void>;
  /**
   * Sends SIGTERM, and SIGKILL after `withinMs`. Resolves when the process has ended. Idempotent.
   */
  stop(withinMs: number): Promise<void>;
}

/** Runs a script, such as a service's `main.ts`, in a child process. */
export function startChild(given: ChildOptions): Child {
  let options = given;
  let running = launch(options);

  return {
    name: given.name,
    get pid() {
      return running.process.pid ?? 0;
    },
    get exitCode() {
      return running.process.exitCode;
    },
    async kill(signal) {
      running.process.kill(signal);
      if (signal !== "SIGSTOP" && signal !== "SIGCONT") await running.ended;
    },
    async ended() {
      const { ended, lastLines } = running;
      await ended;
      return lastLines;
    },
    async restart(root = options.root) {
      options = { ...options, root };
      await stop(running, READY_TIMEOUT_MS);
      running = launch(options);
      await ready(running, options);
    },
    ready: () => ready(running, options),
    stop: (withinMs) => stop(running, withinMs),
  };
}

const NODE_FLAGS = ["--disable-warning=ExperimentalWarning"];
/** Shell script that limits its open files to its first argument and becomes the program that follows. */
const LIMITED = 'ulimit -n "$0"; exec "$@"';

interface Running {
  readonly process: ChildProcess;
  readonly ended: Promise<void>;
  readonly lastLines: string[];
}

function launch(options: ChildOptions): Running {
  const { nodeArguments = [], script, root = ownRoot, openFiles } = options;
  const node = [process.execPath, ...NODE_FLAGS, ...nodeArguments, join(root, script)];
  const [program, ...args] =
    openFiles === undefined ? node : ["sh", "-c", LIMITED, String(openFiles), ...node];
  const child = spawn(program!, args, {
    cwd: root,
    env: options.env,
    stdio: ["ignore", "pipe", "pipe"],
    // A separate process group: Ctrl-C reaches only the parent, which stops its children in order.
    detached: true,
  });
  const lastLines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (line) => {
      lastLines.push(line);
      if (lastLines.length > MAX_LAST_LINES) lastLines.shift();
      options.print(`${options.name.padEnd(10)} ${line}`);
    });
  }
  const ended = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
  return { process: child, ended, lastLines };
}

function hasEnded({ process: child }: Running): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
}

async function ready(running: Running, options: ChildOptions): Promise<void> {
  const until = Date.now() + READY_TIMEOUT_MS;
  while (Date.now() < until) {
    if (hasEnded(running)) {
      throw new Error(`${options.name} ended:\n${running.lastLines.join("\n")}`);
    }
    if (await answersOk(options.readyUrl)) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL_MS));
  }
  throw new Error(
    `${options.name} was not ready in ${READY_TIMEOUT_MS} ms:\n${running.lastLines.join("\n")}`,
  );
}

async function answersOk(url: string): Promise<boolean> {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(1_000) })).ok;
  } catch {
    // The process does not listen yet.
    return false;
  }
}

async function stop(running: Running, withinMs: number): Promise<void> {
  if (hasEnded(running)) return;
  running.process.kill("SIGTERM");
  const timer = setTimeout(() => running.process.kill("SIGKILL"), withinMs);
  await running.ended;
  clearTimeout(timer);
}
