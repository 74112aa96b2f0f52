import { type ChildProcess, fork } from "node:child_process";

type Argument<Api, M extends keyof Api> = Api[M] extends (argument: infer A) => unknown ? A : never;
type Answer<Api, M extends keyof Api> = Api[M] extends (argument: never) => infer R
  ? Awaited<R>
  : never;

/** A child process whose file calls `serveCalls` with an object of type `Api`. */
export class CalledProcess<Api> {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve(value: never): void; reject(e: Error): void }>();
  #ids = 0;

  /** Runs a file. `name` describes the process in errors, such as "a generator". */
  constructor(file: string, name: string) {
    this.#child = fork(file, {
      execArgv: ["--disable-warning=ExperimentalWarning"],
      // This serialization preserves typed arrays.
      serialization: "advanced",
    });
    this.#child.on("message", (message: { id: number; result?: unknown; error?: string }) => {
      const { id, result, error } = message;
      const call = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) call?.resolve(result as never);
      else call?.reject(new Error(error));
    });
    this.#child.once("exit", (code, signal) => {
      const error = new Error(`${name} ended (${signal ?? code})`);
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  call<M extends keyof Api>(method: M, argument: Argument<Api, M>): Promise<Answer<Api, M>> {
    return new Promise((resolve, reject) => {
      const id = this.#ids++;
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, method, argument }, (error) => {
        if (error) reject(error);
      });
    });
  }

  /** Lets the process exit. */
  close(): void {
    if (this.#child.connected) this.#child.disconnect();
  }

  /** Ends the process at once. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }
}
