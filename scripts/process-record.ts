import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

/** A process as a file remembers it: the number alone may belong to another one by now. */
export interface ProcessRecord {
  readonly pid: number;
  /** When it was started, in the system's own words. */
  readonly started: string;
}

const POLL_INTERVAL_MS = 50;

/** What to remember of a running process. Throws when it does not run. */
export function recordProcess(pid: number | undefined): ProcessRecord {
  const started = pid === undefined ? undefined : startOf(pid);
  if (pid === undefined || started === undefined) throw new Error(`process ${pid} does not run`);
  return { pid, started };
}

/** Whether it still runs, and is the same. */
export function isRunning({ pid, started }: ProcessRecord): boolean {
  return startOf(pid) === started;
}

/** Asks a process to end; kills it when it does not within the bound. */
export async function terminate(kept: ProcessRecord, withinMs: number): Promise<void> {
  if (!isRunning(kept)) return;
  process.kill(kept.pid, "SIGTERM");
  const until = Date.now() + withinMs;
  while (isRunning(kept) && Date.now() < until) await pause(POLL_INTERVAL_MS);
  if (isRunning(kept)) process.kill(kept.pid, "SIGKILL");
}

function startOf(pid: number): string | undefined {
  try {
    if (process.platform !== "linux") {
      const started = execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], {
        encoding: "utf8",
      });
      return started.trim() || undefined;
    }
    // Fields after the name, which is in brackets and may hold anything: the state comes first.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    // There is no such process.
    return undefined;
  }
}
