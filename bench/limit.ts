import { type Figures, rounded } from "./report.ts";

/** Share of a core from which on a process of the bench may have been the limit. */
const LIMIT_SHARE = 0.9;

/** Says so when a process of the bench took all of a core; undefined when it did not. */
export function limitOf(who: string, share: number): string | undefined {
  return share >= LIMIT_SHARE ? `${who} took ${Math.round(share * 100)} % of a core` : undefined;
}

/** The limits of several runs, each with the name of its run; undefined when there was none. */
export function limitsOf(
  runs: Readonly<Record<string, { readonly limitedBy: string | undefined }>>,
): string | undefined {
  const limits = Object.entries(runs).flatMap(([name, { limitedBy }]) =>
    limitedBy === undefined ? [] : [`${name}: ${limitedBy}`],
  );
  return limits.length > 0 ? limits.join("; ") : undefined;
}

/** What the bench's own process took, in a run whose load it makes itself. */
export interface OwnPart {
  readonly figures: Figures;
  readonly limitedBy: string | undefined;
}

/** Reads it off the CPU seconds of a run, by process. */
export function ownPart(options: {
  readonly cpu: ReadonlyMap<string, number>;
  readonly elapsedS: number;
  /** Of the machine. */
  readonly cpus: number;
}): OwnPart {
  const { cpu, elapsedS, cpus } = options;
  const share = (cpu.get("bench") ?? 0) / elapsedS;
  return {
    figures: { generator_share_of_machine: rounded(share / cpus, 3) },
    limitedBy: limitOf("the bench's own process", share),
  };
}
