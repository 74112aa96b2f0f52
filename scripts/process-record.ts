import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

/** Identifies a process in a file. The id alone is not enough: the system reuses ids. */
export interface ProcessRecord {
  readonly pid: number;
  /** Start time of the process, as the system prints it. */
  readonly started: string;
}

const POLL_INTERVAL_MS = 50;

/** Records a running process. Throws when no process with the id runs. */
export function recordProcess(pid: number | undefined): ProcessRecord {
  const started = pid === undefined ? undefined : startOf(pid);
  if (pid === undefined || started === undefined) throw new Error(`process ${pid} is not running`);
  return { pid, started };
}

/** Whether the recorded process still runs. False when another process has its id. */
export function isRunning({ pid, started }: ProcessRecord): boolean {
  return startOf(pid) === started;
}

/** Sends SIGTERM to a process, and SIGKILL if it still runs after `withinMs`. */
export async function terminate(record: ProcessRecord, withinMs: number): Promise<void> {
  if (!isRunning(record)) return;
  process.kill(record.pid, "SIGTERM");
  const until = Date.now() + withinMs;
  while (isRunning(record) && Date.now() < until) await pause(POLL_INTERVAL_MS);
  if (isRunning(record)) process.kill(record.pid, "SIGKILL");
}

function startOf(pid: number): string | undefined {
  try {
    if (process.platform !== "linux") {
      const started = execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], {
        encoding: "utf8",
      });
      return started.trim() || undefined;
    }
    // The fields after the name, which is in brackets and may contain any character: the first one
    // is the state, the 20th the start time.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    // No such process.
    return undefined;
  }
}
