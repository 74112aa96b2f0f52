/** A measured action. */
export interface Sample {
  /** When it began, on the clock's scale of durations, ms. */
  readonly atMs: number;
  /** How long it took, ms. */
  readonly ms: number;
}

/** The samples that began within a period. */
export function samplesBetween(
  samples: readonly Sample[],
  fromMs: number,
  untilMs: number,
): Sample[] {
  return samples.filter(({ atMs }) => atMs >= fromMs && atMs < untilMs);
}

/** The duration that a share (0 to 1) of the samples does not exceed; NaN for no samples. */
export function percentile(samples: readonly Sample[], share: number): number {
  const sorted = samples.map(({ ms }) => ms).sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}
