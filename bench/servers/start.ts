import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import { freePorts } from "../../scripts/ports.ts";

/** A server that Lucky is compared with, in its own process. */
export interface Rival {
  /** "http://127.0.0.1:port" */
  readonly url: string;
  readonly pid: number;
  close(): Promise<void>;
}

/** Runs a file of this folder, with a free port as its first argument. Resolves when it listens. */
export async function startRival(file: string, ...args: string[]): Promise<Rival> {
  const [port] = (await freePorts(1)) as [number];
  const child = fork(join(import.meta.dirname, file), [String(port), ...args], {
    execArgv: ["--disable-warning=ExperimentalWarning"],
  });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  await ready(child, file);
  return {
    url: `http://127.0.0.1:${port}`,
    pid: child.pid ?? 0,
    async close() {
      if (child.connected) child.disconnect();
      await ended;
    },
  };
}

function ready(child: ChildProcess, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once("message", () => resolve());
    child.once("exit", (code) => reject(new Error(`${file} ended with ${code}`)));
  });
}
