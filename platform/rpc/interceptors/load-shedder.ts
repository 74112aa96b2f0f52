import type { DescMethod } from "@bufbuild/protobuf";
import type { Interceptor } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Access, LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { MethodRules } from "#platform/rpc/rules.ts";
import { admittedKey } from "./access.ts";

/** Interval of the samples of a queue, ms, and samples of a window. */
const SAMPLE_MS = 50;
const WINDOW_SAMPLES = 10;
/**
 * Shortest wait of a window that counts as overload, ms. A burst leaves a moment without a wait in
 * half a second; a standing queue does not (the rule of CoDel, RFC 8289).
 */
const TARGET_MS = 100;
const RETRY_AFTER_MS = 1_000;

/** Kinds of calls in the order in which they are shed; others are never shed. */
const SHED = ["search", "read", "write"] as const;
type Shed = (typeof SHED)[number];

/** The shortest wait of a queue in the current window. */
interface Window {
  readonly queue: string;
  readonly sample: () => number;
  shortestMs: number;
}

/**
 * Sheds calls of users while this process is overloaded: first searches, half a second later
 * reads too, then changes and sends. Calls of our own services, which carry the heartbeats,
 * acknowledgements and sends of sockets, are never shed: their queues have bounds of their own.
 */
export interface LoadShedder {
  /** Adds a queue whose current wait `sample` returns, ms. */
  watch(queue: string, sample: () => number): void;
  /** Throws OVERLOADED for a call that is shed. */
  admit(rules: Pick<MethodRules, "access" | "limit">): void;
  close(): void;
}

/** Creates the shedder of a process. It watches the event loop. */
export function createLoadShedder(options: {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}): LoadShedder {
  const { clock, log, metrics } = options;
  const levelGauge = metrics.gauge(
    "lucky_shed_level",
    "Kinds of calls that are shed: 1 searches, 2 also reads, 3 also changes and sends",
  );
  const waits = metrics.gauge(
    "lucky_queue_wait_seconds",
    "Shortest wait of a queue in the last half second",
    ["queue"],
  );
  const shed = metrics.counter("lucky_shed_calls_total", "Calls of users that were shed", ["kind"]);
  const windows: Window[] = [];
  let samples = 0;
  let level = 0;
  let dueAtMs = clock.elapsed() + SAMPLE_MS;

  function watch(queue: string, sample: () => number): void {
    windows.push({ queue, sample, shortestMs: Number.POSITIVE_INFINITY });
  }

  function setLevel(next: number): void {
    if (next === level) return;
    const begins = level === 0 || next === 0;
    level = next;
    levelGauge.set(level);
    if (begins) log.warn({ event: level > 0 ? "shedding_begun" : "shedding_ended" });
  }

  function sampleAll(): void {
    for (const window of windows) {
      window.shortestMs = Math.min(window.shortestMs, window.sample());
    }
    dueAtMs = clock.elapsed() + SAMPLE_MS;
    samples += 1;
    if (samples < WINDOW_SAMPLES) return;
    samples = 0;
    const longestMs = Math.max(...windows.map(({ shortestMs }) => shortestMs));
    for (const window of windows) {
      waits.set({ queue: window.queue }, window.shortestMs / 1_000);
      window.shortestMs = Number.POSITIVE_INFINITY;
    }
    if (longestMs > TARGET_MS) setLevel(Math.min(SHED.length, level + 1));
    else if (longestMs < TARGET_MS / 2) setLevel(Math.max(0, level - 1));
  }

  // A timer is late by the wait of the event loop.
  watch("event-loop", () => Math.max(0, clock.elapsed() - dueAtMs));
  levelGauge.set(0);
  const timer = clock.every(SAMPLE_MS, sampleAll);
  return {
    watch,
    admit(rules) {
      if (level === 0) return;
      const kind = kindOf(rules);
      if (kind === undefined || SHED.indexOf(kind) >= level) return;
      shed.inc({ kind });
      const retryAfterMs = RETRY_AFTER_MS * level;
      throw fail(ErrorReason.OVERLOADED, "too much load at the moment", { retryAfterMs });
    },
    close: () => timer.stop(),
  };
}

/** Sheds calls that did not come through a door, which sheds before the request is read. */
export function shedInterceptor(
  shedder: LoadShedder,
  rules: (method: DescMethod) => MethodRules,
): Interceptor {
  return (next) => (request) => {
    if (!request.contextValues.get(admittedKey)) shedder.admit(rules(request.method));
    return next(request);
  };
}

function kindOf({ access, limit }: Pick<MethodRules, "access" | "limit">): Shed | undefined {
  // Health checks and reflection have the class of internal calls.
  if (access === Access.INTERNAL || limit === LimitClass.INTERNAL) return undefined;
  // Operators must reach a system under attack. Logins, refreshes and keys have budgets by address, and
  // sessions end without them.
  if (access === Access.OPERATOR || access === Access.ADMIN || access === Access.PUBLIC) return;
  if (limit === LimitClass.SEARCH) return "search";
  return limit === LimitClass.READ ? "read" : "write";
}
