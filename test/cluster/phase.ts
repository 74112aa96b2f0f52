import type { PhaseReport } from "./load-messages.ts";

/** Measures one phase of a load. */
export class Phase {
  readonly #name: string;
  readonly #beganMs = performance.now();
  readonly #latenciesMs: number[] = [];
  readonly #reconnectsMs: number[] = [];
  #lastMs = performance.now();
  #longestGapMs = 0;

  constructor(name: string) {
    this.#name = name;
  }

  /** A send was accepted, `latencyMs` after its call. */
  accepted(latencyMs: number): void {
    this.#latenciesMs.push(latencyMs);
    this.#endGap();
  }

  /** A session was opened again, `ms` after its loss. */
  reconnected(ms: number): void {
    this.#reconnectsMs.push(ms);
  }

  report(): PhaseReport {
    this.#endGap();
    const [latencies, reconnects] = [this.#latenciesMs, this.#reconnectsMs];
    return {
      name: this.#name,
      seconds: Math.round((performance.now() - this.#beganMs) / 1_000),
      accepted: latencies.length,
      longestGapMs: Math.round(this.#longestGapMs),
      sendP50Ms: percentile(latencies, 0.5),
      sendP99Ms: percentile(latencies, 0.99),
      sendMaxMs: percentile(latencies, 1),
      reconnects: reconnects.length,
      reconnectP99Ms: percentile(reconnects, 0.99),
      reconnectMaxMs: percentile(reconnects, 1),
    };
  }

  #endGap(): void {
    const now = performance.now();
    this.#longestGapMs = Math.max(this.#longestGapMs, now - this.#lastMs);
    this.#lastMs = now;
  }
}

/** A percentile of unsorted numbers, rounded; 0 when there is none. */
function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1);
  return Math.round(sorted[Math.max(at, 0)] ?? 0);
}
