/** Figures of a run, by name; some are nested. */
export type Figures = Readonly<Record<string, unknown>>;

/** Result of a scenario. */
export interface Report {
  readonly figures: Figures;
  /** Faults of the run, such as lost or duplicate messages, one sentence each. Empty when there are none. */
  readonly faults: readonly string[];
  /** Reason why the generator was the bottleneck; undefined when the server was. */
  readonly limitedBy: string | undefined;
}

/** Prints a report: a table, the faults, and the figures as JSON in the last line. */
export function printReport({ figures, faults, limitedBy }: Report): void {
  console.log();
  for (const [name, value] of Object.entries(figures)) printFigure(name, value, 1);
  console.log();
  if (limitedBy !== undefined) {
    console.log(
      `  The generator was the bottleneck: ${limitedBy}.\n` +
        "  At least some of the figures above measure the generator, not the server.\n",
    );
  }
  for (const fault of faults) console.log(`  FAULT: ${fault}`);
  console.log(JSON.stringify({ ...figures, generator_limited: limitedBy !== undefined, faults }));
}

/** 1 for a fault, 2 when the generator was the bottleneck, else 0. */
export function exitCodeOf({ faults, limitedBy }: Report): number {
  if (faults.length > 0) return 1;
  return limitedBy === undefined ? 0 : 2;
}

function printFigure(name: string, value: unknown, depth: number): void {
  const indent = "  ".repeat(depth);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const shown = Array.isArray(value) ? value.join(" · ") : value;
    console.log(`${indent}${name.padEnd(28 - 2 * depth)} ${shown}`);
    return;
  }
  if (Object.keys(value).length === 0) return;
  console.log(`${indent}${name}`);
  for (const [key, inner] of Object.entries(value)) printFigure(key, inner, depth + 1);
}

/** A number with `digits` decimals; null for a number that is not finite, because JSON has none. */
export function rounded(value: number, digits = 1): number | null {
  return Number.isFinite(value) ? Number(value.toFixed(digits)) : null;
}
