import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";

/** Lines of one kind that are logged in a second; further ones are only counted. */
const MAX_LINES_PER_SECOND = 10;
const WINDOW_MS = 1_000;

/** Kinds that are counted in one second. Further kinds are counted together. */
const MAX_KINDS = 1_000;

/** Method and reason of the kinds that are counted together. */
const OTHERS = "others";

/** A kind of log line. */
export interface LineKind {
  readonly level: "error" | "warn" | "info";
  readonly method: string;
  readonly reason: string;
}

/** Bounds the log lines that callers can cause, of which each is longer than the call itself. */
export interface LineSampler {
  /**
   * Whether to log one more line of the kind. When not, the line is counted, and a line
   * `rpc_lines_suppressed` with the number follows at the end of the second.
   */
  admit(kind: LineKind): boolean;
}

export function createLineSampler({ log, clock }: { log: Log; clock: Clock }): LineSampler {
  const counts = new Map<string, LineKind & { lines: number }>();
  let endsAt = Number.NEGATIVE_INFINITY;
  let timer: Timer | undefined;

  function endWindow(): void {
    timer?.stop();
    timer = undefined;
    for (const { level, method, reason, lines } of counts.values()) {
      const suppressed = lines - MAX_LINES_PER_SECOND;
      if (suppressed > 0) log[level]({ event: "rpc_lines_suppressed", method, reason, suppressed });
    }
    counts.clear();
  }

  function countOf(kind: LineKind): { lines: number } {
    const key = `${kind.level} ${kind.method} ${kind.reason}`;
    const known = counts.get(key);
    if (known !== undefined) return known;
    if (counts.size >= MAX_KINDS && kind.method !== OTHERS)
      return countOf({ level: kind.level, method: OTHERS, reason: OTHERS });
    const first = { ...kind, lines: 0 };
    counts.set(key, first);
    return first;
  }

  return {
    admit({ level, method, reason }) {
      const time = clock.elapsed();
      if (time >= endsAt) {
        endWindow();
        endsAt = time + WINDOW_MS;
      }
      const count = countOf({ level, method, reason });
      count.lines += 1;
      if (count.lines <= MAX_LINES_PER_SECOND) return true;
      timer ??= clock.after(endsAt - time, endWindow);
      return false;
    },
  };
}
