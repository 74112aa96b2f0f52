import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

/** Seconds of CPU. */
export interface CpuSeconds {
  /** Used by this bench and what it started, user and system together, by name of process. */
  readonly own: ReadonlyMap<string, number>;
  /** Used by everybody on the machine. */
  readonly machine: number;
}

/** Names of programs as people know them. */
const programs: Readonly<Record<string, string>> = {
  postgres: "postgres",
  "beam.smp": "rabbitmq",
  erl_child_setup: "rabbitmq",
  epmd: "rabbitmq",
  "redis-server": "redis",
};

/**
 * Reads what this process and everything under it has used: itself as "bench", its children by
 * `names` (by process id), servers by their program. Of processes that ended, what their parent
 * has waited for is counted with the parent.
 */
export function readCpu(names: ReadonlyMap<number, string>): CpuSeconds {
  const ticksPerSecond = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
  const all = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => readStat(Number(pid)));
  const mine = new Set([process.pid]);
  for (let grown = true; grown; ) {
    grown = false;
    for (const { pid, parent } of all) {
      if (mine.has(parent) && !mine.has(pid)) {
        mine.add(pid);
        grown = true;
      }
    }
  }
  const own = new Map<string, number>();
  for (const { pid, program, ticks } of all) {
    if (!mine.has(pid)) continue;
    const name = pid === process.pid ? "bench" : (names.get(pid) ?? programs[program] ?? "other");
    own.set(name, (own.get(name) ?? 0) + ticks / ticksPerSecond);
  }
  return { own, machine: readMachine() / ticksPerSecond };
}

/** CPU seconds between two readings, by process; those that did nothing are left out. */
export function cpuBetween(before: CpuSeconds, after: CpuSeconds): ReadonlyMap<string, number> {
  const used = new Map<string, number>();
  for (const [name, seconds] of [...after.own].sort()) {
    const difference = seconds - (before.own.get(name) ?? 0);
    if (difference > 0) used.set(name, difference);
  }
  return used;
}

interface Stat {
  readonly pid: number;
  readonly parent: number;
  readonly program: string;
  readonly ticks: number;
}

function readStat(pid: number): Stat[] {
  let line: string;
  try {
    line = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return []; // It ended between the listing and now.
  }
  // The program's name stands in parentheses and may hold anything.
  const program = line.slice(line.indexOf("(") + 1, line.lastIndexOf(")"));
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const [user, system, waitedUser, waitedSystem] = fields.slice(11, 15).map(Number);
  const own = user! + system!;
  // This process starts servers and helpers that must not count as its own work.
  const waited = pid === process.pid ? 0 : waitedUser! + waitedSystem!;
  return [{ pid, parent: Number(fields[1]), program, ticks: own + waited }];
}

/** Ticks that the machine's processors were not idle. */
function readMachine(): number {
  const line = readFileSync("/proc/stat", "utf8").split("\n", 1)[0]!;
  const [user, nice, system, , , interrupts, soft] = line.trim().split(/\s+/).slice(1).map(Number);
  return user! + nice! + system! + interrupts! + soft!;
}
