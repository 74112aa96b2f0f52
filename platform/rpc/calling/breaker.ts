import type { Clock } from "#platform/clock.ts";

/**
 * - "closed": calls are sent.
 * - "open": the instance does not serve; calls are refused at once.
 * - "half-open": one call a second, the probe, is sent to find out whether the instance serves again.
 */
export type BreakerState = "closed" | "open" | "half-open";

/** Failures without an answer in between that open the breaker. */
const FAILURES = 5;
/** Whole ticks in which calls waited and none was answered, that open the breaker: 3 s. */
const SILENT_TICKS = 6;
/** Interval of `tick`, ms. */
export const TICK_MS = 500;
/** Time for which the breaker is open, ms: at first, and after a failed probe. */
const MIN_OPEN_MS = 500;
const MAX_OPEN_MS = 1_000;
/** Time without a call after which an open breaker closes, ms; then one failure opens it. */
const FORGET_MS = 30_000;
/** Interval of the probes of a half-open breaker, ms: a probe may wait long for its time-out. */
const PROBE_MS = 1_000;

/** The circuit breaker of one instance. Times are those of `Clock.elapsed`, milliseconds. */
export interface Breaker {
  readonly state: BreakerState;
  /**
   * Time until a call may be sent, ms; 0 when it may be sent now. `isProbe` says whether the call may
   * be a probe: one that ends too early to get an answer may not.
   */
  waitMs(isProbe: boolean): number;
  /**
   * A call is sent. The caller calls the returned function once, when the call was answered, failed
   * or was aborted. The next call is a probe at once when the last one was aborted.
   */
  sent(): () => void;
  /** The instance answered a call, with a result or with an error of its own. */
  answered(): void;
  /** The instance did not serve a call that was sent at this time. */
  failed(sentAtMs: number): void;
  /**
   * Called every `TICK_MS`. Silence is counted in ticks, because this process may have been paused
   * itself: then all answers come late. Calls that ended before their second tick do not count: a
   * client may send any number of them with a deadline of 1 ms.
   */
  tick(): void;
}

/** Creates a breaker. `changed` is called after each change of its state, with the one before. */
export function createBreaker(options: {
  readonly clock: Clock;
  readonly changed: (state: BreakerState, before: BreakerState) => void;
}): Breaker {
  const { clock, changed } = options;
  let state: BreakerState = "closed";
  let failures = 0;
  /** Calls in flight, and those of them that were in flight at the last tick. */
  let inFlight = 0;
  let waiting = 0;
  let ticks = 0;
  let probes = 0;
  let hadAnswer = false;
  let silentTicks = 0;
  let openMs = MIN_OPEN_MS;
  /** End of the time for which the breaker is open, or of the interval of a probe. */
  let untilMs = 0;
  let halfOpenAtMs = 0;

  function become(next: BreakerState): void {
    const before = state;
    state = next;
    changed(next, before);
  }

  function open(): void {
    failures = 0;
    silentTicks = 0;
    untilMs = clock.elapsed() + openMs;
    openMs = MAX_OPEN_MS;
    become("open");
  }

  return {
    get state() {
      return state;
    },
    waitMs(isProbe) {
      if (state === "closed") return 0;
      const now = clock.elapsed();
      if (now < untilMs) return untilMs - now;
      if (!isProbe) return PROBE_MS;
      if (state === "open") {
        halfOpenAtMs = now;
        become("half-open");
      }
      return 0;
    },
    sent() {
      inFlight += 1;
      const sentAtTick = ticks;
      const isProbe = state === "half-open";
      if (isProbe) {
        probes += 1;
        untilMs = clock.elapsed() + PROBE_MS;
      }
      const probe = probes;
      return () => {
        inFlight -= 1;
        if (sentAtTick < ticks) waiting -= 1;
        // Still half-open: the call had no outcome.
        if (isProbe && probe === probes && state === "half-open") untilMs = clock.elapsed();
      };
    },
    answered() {
      failures = 0;
      hadAnswer = true;
      if (state === "closed") return;
      openMs = MIN_OPEN_MS;
      become("closed");
    },
    failed(sentAtMs) {
      if (state === "closed") {
        failures += 1;
        if (failures >= FAILURES) open();
      } else if (state === "half-open" && sentAtMs >= halfOpenAtMs) open();
    },
    tick() {
      ticks += 1;
      const isSilent = waiting > 0 && !hadAnswer;
      waiting = inFlight;
      hadAnswer = false;
      if (state !== "closed" && inFlight === 0 && clock.elapsed() - untilMs > FORGET_MS) {
        failures = FAILURES - 1;
        become("closed");
      }
      if (state !== "closed" || !isSilent) {
        silentTicks = 0;
        return;
      }
      silentTicks += 1;
      if (silentTicks >= SILENT_TICKS) open();
    },
  };
}
