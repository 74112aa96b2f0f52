/** Figures of a run: flat, or by name. */
export type Figures = Readonly<Record<string, unknown>>;

/** What a scenario hands back. */
export interface Report {
  readonly figures: Figures;
  /** What is off: something was lost, doubled, left over … Empty for an exact account. */
  readonly faults: readonly string[];
  /** Why the figures are the generator's and not the server's. */
  readonly limitedBy: string | undefined;
}

/** Prints a report: a table, what is wrong with it, and the figures as JSON in the last line. */
export function printReport({ figures, faults, limitedBy }: Report): void {
  console.log();
  for (const [name, value] of Object.entries(figures)) printFigure(name, value, 1);
  console.log();
  if (limitedBy !== undefined) {
    console.log(
      `  The generator was the limit: ${limitedBy}.\n` +
        "  What is above is the generator's, at least in part, and not the server's alone.\n",
    );
  }
  for (const fault of faults) console.log(`  OFF: ${fault}`);
  console.log(JSON.stringify({ ...figures, generator_limited: limitedBy !== undefined, faults }));
}

/** 1 when something is off, 2 when the generator was the limit, else 0. */
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
  for (const [key, one] of Object.entries(value)) printFigure(key, one, depth + 1);
}

/** A number with so many digits after the point; null when there is none, as JSON has it. */
export function rounded(value: number, digits = 1): number | null {
  return Number.isFinite(value) ? Number(value.toFixed(digits)) : null;
}
