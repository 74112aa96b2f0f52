import { spawn } from "node:child_process";
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isRunning, type ProcessRecord, recordProcess, terminate } from "../process-record.ts";
import { INSIDE } from "./node-network.ts";

const STOP_TIMEOUT_MS = 10_000;
const LAST_LINES = 15;

/**
 * The cluster's own processes, in the namespace of the node. They log to `<folder>/<name>.log`. A file
 * records them, so that the next start can end what a killed run has left.
 */
export class Processes {
  readonly #folder: string;
  readonly #recordsFile: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.#recordsFile = join(folder, "processes.json");
    mkdirSync(folder, { recursive: true });
  }

  start(name: string, [program, ...args]: readonly string[]): void {
    const log = openSync(join(this.#folder, `${name}.log`), "w");
    const child = spawn(INSIDE[0], [INSIDE[1], program!, ...args], {
      detached: true,
      stdio: ["ignore", log, log],
    });
    child.unref();
    this.#write({ ...this.#read(), [name]: recordProcess(child.pid) });
  }

  isRunning(name: string): boolean {
    const record = this.#read()[name];
    return record !== undefined && isRunning(record);
  }

  /** Stops one process, or all of them, the last started first. */
  async stop(...names: readonly string[]): Promise<void> {
    const records = this.#read();
    const chosen = names.length > 0 ? names : Object.keys(records).reverse();
    for (const name of chosen) {
      const record = records[name];
      if (record) await terminate(record, STOP_TIMEOUT_MS);
      delete records[name];
      this.#write(records);
    }
  }

  /** The end of a process's log, for errors. */
  lastLines(name: string): string {
    const file = join(this.#folder, `${name}.log`);
    if (!existsSync(file)) return "";
    return readFileSync(file, "utf8").trimEnd().split("\n").slice(-LAST_LINES).join("\n");
  }

  #read(): Record<string, ProcessRecord> {
    if (!existsSync(this.#recordsFile)) return {};
    return JSON.parse(readFileSync(this.#recordsFile, "utf8")) as Record<string, ProcessRecord>;
  }

  #write(records: Record<string, ProcessRecord>): void {
    writeFileSync(this.#recordsFile, JSON.stringify(records));
  }
}
