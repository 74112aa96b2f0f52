import { Worker } from "node:worker_threads";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock, Timer } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { Estimate } from "./strength-thread.ts";

/**
 * Estimates the strength of passwords with zxcvbn in a thread of its own: one estimate takes up to
 * a quarter of a second, which must not block the event loop.
 */
export interface StrengthEstimator {
  /**
   * The score, 0 (guessed at once) to 4. `isUrgent` puts the estimate before those that wait. Throws
   * OVERLOADED when too many wait, when the estimate takes too long and when the thread dies;
   * UNAVAILABLE after `stop`.
   */
  score(estimate: Estimate, options?: { isUrgent?: boolean }): Promise<number>;
  /** Ends the thread and fails the estimates that wait. Idempotent. */
  stop(): Promise<void>;
}

/** Estimates that wait; further ones are refused with OVERLOADED. */
const MAX_WAITING = 128;

/** Longest time for one estimate including the wait, in which the thread may have to start. */
const TIMEOUT_MS = 10_000;

/** Heap of the thread; the dictionaries need 50 MB of it. */
const MAX_HEAP_MB = 256;

interface Job {
  readonly estimate: Estimate;
  readonly timer: Timer;
  readonly resolve: (score: number) => void;
  readonly reject: (error: Error) => void;
}

/** The thread starts with the first estimate. After it died, the next estimate starts another. */
export function createStrengthEstimator({
  clock,
  log,
  script = new URL("./strength-thread.ts", import.meta.url),
}: {
  clock: Clock;
  log: Log;
  /** The code of the thread. */
  script?: URL;
}): StrengthEstimator {
  const waiting: Job[] = [];
  let running: Job | undefined;
  let thread: Worker | undefined;
  let stopped = false;

  function startThread(): Worker {
    const resourceLimits = { maxOldGenerationSizeMb: MAX_HEAP_MB };
    const started = new Worker(script, { env: {}, resourceLimits });
    const died = (err?: unknown) => {
      if (thread === started) endThread("password_estimator_died", err);
    };
    started.on("message", (score: number) => {
      // A thread that was ended may still answer.
      if (thread !== started) return;
      finish()?.resolve(score);
      next();
    });
    started.on("error", died);
    started.on("exit", () => died());
    return started;
  }

  /** Ends the running job. The idle thread does not keep the process alive. */
  function finish(): Job | undefined {
    const job = running;
    running = undefined;
    job?.timer.stop();
    thread?.unref();
    return job;
  }

  /** Ends the thread, which is dead or hangs. Its job is not retried: it may be the cause. */
  function endThread(event: string, err?: unknown): void {
    const ended = thread;
    const job = finish();
    thread = undefined;
    void ended?.terminate();
    log.warn({ event, err });
    job?.reject(overloaded("the strength of the password could not be estimated"));
    next();
  }

  function next(): void {
    if (running !== undefined) return;
    running = waiting.shift();
    if (running === undefined) return;
    thread ??= startThread();
    thread.ref();
    thread.postMessage(running.estimate);
  }

  function timedOut(job: Job): void {
    if (job === running) {
      endThread("password_estimate_timed_out");
      return;
    }
    waiting.splice(waiting.indexOf(job), 1);
    job.reject(overloaded("too many new passwords at once"));
  }

  return {
    score(estimate, { isUrgent = false } = {}) {
      if (stopped) return Promise.reject(stopping());
      if (waiting.length >= MAX_WAITING)
        return Promise.reject(overloaded("too many new passwords at once"));
      return new Promise((resolve, reject) => {
        const timer = clock.after(TIMEOUT_MS, () => timedOut(job));
        const job: Job = { estimate, timer, resolve, reject };
        if (isUrgent) waiting.unshift(job);
        else waiting.push(job);
        next();
      });
    },
    async stop() {
      stopped = true;
      const ended = thread;
      const jobs = [finish(), ...waiting.splice(0)];
      thread = undefined;
      for (const job of jobs) {
        job?.timer.stop();
        job?.reject(stopping());
      }
      await ended?.terminate();
    },
  };
}

const overloaded = (text: string) => fail(ErrorReason.OVERLOADED, text, { retryAfterMs: 1_000 });

const stopping = () => fail(ErrorReason.UNAVAILABLE, "auth is stopping");
