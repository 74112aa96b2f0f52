import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

/** CPU time, seconds. */
export interface CpuSeconds {
  /** Used by this bench and its descendants, user and system together, by name of the process. */
  readonly own: ReadonlyMap<string, number>;
  /** Used by all processes of the machine. */
  readonly machine: number;
}

/** Usual names of servers, by program. */
const SERVER_NAMES: Readonly<Record<string, string>> = {
  postgres: "postgres",
  "beam.smp": "rabbitmq",
  erl_child_setup: "rabbitmq",
  epmd: "rabbitmq",
  "redis-server": "redis",
};

/**
 * Reads the CPU that this process and its descendants have used: this process as "bench", children by `names`
 * (by process id), servers by their program. The CPU time of an ended process is added to its parent, once
 * the parent has waited for it.
 */
export function readCpu(names: ReadonlyMap<number, string>): CpuSeconds {
  const ticksPerSecond = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
  const processes = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => readStat(Number(pid)));
  const family = new Set([process.pid]);
  for (let grown = true; grown; ) {
    grown = false;
    for (const { pid, parent } of processes) {
      if (family.has(parent) && !family.has(pid)) {
        family.add(pid);
        grown = true;
      }
    }
  }
  const own = new Map<string, number>();
  for (const { pid, program, ticks } of processes) {
    if (!family.has(pid)) continue;
    const name =
      pid === process.pid ? "bench" : (names.get(pid) ?? SERVER_NAMES[program] ?? "other");
    own.set(name, (own.get(name) ?? 0) + ticks / ticksPerSecond);
  }
  return { own, machine: readMachine() / ticksPerSecond };
}

/** CPU seconds between two readings, by process. Processes that used no CPU are left out. */
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
    return []; // The process ended after the listing.
  }
  // The program's name is in parentheses, and may contain spaces and parentheses.
  const program = line.slice(line.indexOf("(") + 1, line.lastIndexOf(")"));
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const [user, system, waitedUser, waitedSystem] = fields.slice(11, 15).map(Number);
  const own = user! + system!;
  // The CPU time of ended children of this process, such as servers, is not its own.
  const waited = pid === process.pid ? 0 : waitedUser! + waitedSystem!;
  return [{ pid, parent: Number(fields[1]), program, ticks: own + waited }];
}

/** Ticks during which the processors of the machine were not idle. */
function readMachine(): number {
  const line = readFileSync("/proc/stat", "utf8").split("\n", 1)[0]!;
  const [user, nice, system, , , interrupts, soft] = line.trim().split(/\s+/).slice(1).map(Number);
  return user! + nice! + system! + interrupts! + soft!;
}
