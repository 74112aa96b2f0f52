import { cpuBetween, readCpu } from "../machine/cpu.ts";

/** CPU seconds in a span of time, by process. */
export interface Used {
  readonly seconds: number;
  readonly cpu: ReadonlyMap<string, number>;
}

/** CPU time of one unit of work. */
export interface Cost {
  /** The unit, such as "message". */
  readonly per: string;
  /** Units that were measured. */
  readonly count: number;
  /** µs per unit, by process of the servers. */
  readonly us: Readonly<Record<string, number>>;
}

/** Costs by name, in the order of the report. */
export type Costs = ReadonlyMap<string, Cost>;

/** Processes whose CPU is no cost of the servers. */
const NOT_SERVERS = new Set(["bench", "generator", "other"]);

/** Measures the CPU that work uses. `names` are the names of processes, by process id. */
export async function cpuDuring(
  names: ReadonlyMap<number, string>,
  work: () => Promise<unknown>,
): Promise<Used> {
  const beganMs = performance.now();
  const before = readCpu(names);
  await work();
  const cpu = cpuBetween(before, readCpu(names));
  return { seconds: (performance.now() - beganMs) / 1_000, cpu };
}

/**
 * The cost of `count` units. `without` is a measurement without these units: its CPU, for the same time, is
 * subtracted. A figure below zero is the noise of both.
 */
export function costOf(options: {
  readonly per: string;
  readonly count: number;
  readonly used: Used;
  readonly without?: Used;
}): Cost {
  const { per, count, used, without } = options;
  const us: Record<string, number> = {};
  for (const name of new Set([...used.cpu.keys(), ...(without?.cpu.keys() ?? [])])) {
    if (NOT_SERVERS.has(name)) continue;
    const base = without ? ((without.cpu.get(name) ?? 0) / without.seconds) * used.seconds : 0;
    us[name] = (((used.cpu.get(name) ?? 0) - base) / count) * 1e6;
  }
  return { per, count, us };
}
