import { type ChildProcess, fork } from "node:child_process";
import { setPriority } from "node:os";
import { join } from "node:path";
import type { GeneratorApi } from "../generator/api.ts";

type Argument<M extends keyof GeneratorApi> = Parameters<GeneratorApi[M]>[0];
type Answer<M extends keyof GeneratorApi> = Awaited<ReturnType<GeneratorApi[M]>>;

/** A generator as a child process. */
export class GeneratorProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve(value: never): void; reject(e: Error): void }>();
  #ids = 0;

  constructor() {
    this.#child = fork(join(import.meta.dirname, "../generator/main.ts"), {
      execArgv: ["--disable-warning=ExperimentalWarning"],
      // This serialization preserves typed arrays.
      serialization: "advanced",
    });
    raisePriority(this.#child.pid);
    this.#child.on("message", (message: { id: number; result?: unknown; error?: string }) => {
      const { id, result, error } = message;
      const call = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) call?.resolve(result as never);
      else call?.reject(new Error(error));
    });
    this.#child.once("exit", (code, signal) => {
      const error = new Error(`a generator ended (${signal ?? code})`);
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  call<M extends keyof GeneratorApi>(method: M, argument: Argument<M>): Promise<Answer<M>> {
    return new Promise((resolve, reject) => {
      const id = this.#ids++;
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, method, argument }, (error) => {
        if (error) reject(error);
      });
    });
  }

  close(): void {
    if (this.#child.connected) this.#child.disconnect();
  }
}

/**
 * Raises the priority of a generator above the servers, where the system allows it: a generator represents
 * other machines and should not wait for a core. It does not use more CPU, but gets it in time.
 */
function raisePriority(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    setPriority(pid, -10);
  } catch {
    console.error("the generator has no priority over the servers: measured latencies are higher");
  }
}
