import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { INSIDE } from "../../scripts/cluster/node-network.ts";
import type { AccountReport, FromLoad, PhaseReport, ToLoad } from "./load-messages.ts";

const START_TIMEOUT_MS = 300_000;
const END_TIMEOUT_MS = 300_000;

export interface LoadOptions {
  readonly url: string;
  readonly sessions: number;
  /** Messages a second. */
  readonly rate: number;
}

/** A load generator in the network namespace of the cluster. */
export class Load {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Starts it. Resolves when all sessions are open and messages flow. */
  static async start({ url, sessions, rate }: LoadOptions): Promise<Load> {
    const script = join(import.meta.dirname, "load.ts");
    const node = [process.execPath, "--disable-warning=ExperimentalWarning", script];
    const child = spawn(INSIDE[0], [INSIDE[1], ...node, url, String(sessions), String(rate)], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    const load = new Load(child);
    try {
      await load.#next("ready", START_TIMEOUT_MS);
    } catch (error) {
      load.kill();
      throw error;
    }
    return load;
  }

  /** Begins a phase; returns the report of the one before it. */
  async phase(name: string): Promise<PhaseReport> {
    const answer = this.#next("phase", END_TIMEOUT_MS);
    this.#tell({ kind: "phase", name });
    return (await answer).report;
  }

  /** Ends the load; returns the account of all its messages. */
  async end(): Promise<AccountReport> {
    const answer = this.#next("account", END_TIMEOUT_MS);
    this.#tell({ kind: "end" });
    return (await answer).report;
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  #tell(message: ToLoad): void {
    this.#child.send(message);
  }

  async #next<K extends FromLoad["kind"]>(
    kind: K,
    timeoutMs: number,
  ): Promise<Extract<FromLoad, { kind: K }>> {
    const over = new AbortController();
    const signal = AbortSignal.any([AbortSignal.timeout(timeoutMs), over.signal]);
    const ended = once(this.#child, "exit", { signal }).then(() => {
      throw new Error("the load generator has ended");
    });
    const message = once(this.#child, "message", { signal }) as Promise<[FromLoad]>;
    const [answer] = await Promise.race([message, ended]).finally(() => over.abort());
    if (answer.kind !== kind)
      throw new Error(`the load generator says ${answer.kind}, not ${kind}`);
    return answer as Extract<FromLoad, { kind: K }>;
  }
}
