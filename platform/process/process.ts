import { setFlagsFromString } from "node:v8";
import { ConnectError } from "@connectrpc/connect";

/** Time-out of a stop; then the process exits with 1. */
const STOP_TIMEOUT_MS = 15_000;
/**
 * A second SIGINT within this time is a duplicate: after one Ctrl-C, the terminal sends a SIGINT to
 * the process, and npm forwards another one.
 */
const DUPLICATE_SIGNAL_MS = 300;

/**
 * Size of the memory block that small buffers share. Without sharing, the separate block of a small
 * buffer costs more than its contents (measured: a tenth).
 */
const BUFFER_POOL_BYTES = 262_144;

/**
 * Growth of the heap before a full garbage collection, in percent of the live heap after the last
 * one. By default, V8 limits the growth to about a third after half a minute without load, and
 * keeps that limit as long as the next load lasts (measured: connect collected 91 times in 15 s
 * instead of 19, and a message cost 9 µs instead of 6). V8 still returns memory to the system while
 * there is no load.
 */
const HEAP_GROWTH_PERCENT = 200;

/**
 * DNS options of the C library, unless the operator sets others: each name server gets two attempts
 * of one second, not of five. The exit of a process waits for look-ups in progress. Those of an
 * unreachable backend may find no name server that answers.
 */
const RESOLVER_OPTIONS = "timeout:1 attempts:2";

/** A started system that can be stopped. */
export interface Stoppable {
  /** Resolves with an error for operators when the system can no longer work. */
  readonly failed?: Promise<Error>;
  stop(): Promise<void>;
}

/**
 * Runs a process until SIGINT, SIGTERM or SIGHUP. Then it stops the process and exits with 0, or
 * with 1 when the stop failed or took longer than 15 s. A second SIGINT or SIGTERM exits at once.
 * When the start fails, the process prints the reason and exits with 1. A signal during the start
 * aborts `stopping`, which ends waits for backends; when the start ends by it, the process exits with 0.
 * When the system fails later, it prints the reason, stops the rest, and exits with 1.
 */
export function runProcess(start: (stopping: AbortSignal) => Promise<Stoppable>): void {
  process.env.RES_OPTIONS ??= RESOLVER_OPTIONS;
  Buffer.poolSize = BUFFER_POOL_BYTES;
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`);
  let stoppingSince: number | undefined;
  const stopping = new AbortController();
  const { promise: started, resolve: setStarted } = Promise.withResolvers<Stoppable>();

  async function stop(exitCode: number): Promise<void> {
    const timer = setTimeout(() => {
      console.error(`not stopped within ${STOP_TIMEOUT_MS / 1000} s: exiting`);
      process.exit(1);
    }, STOP_TIMEOUT_MS);
    timer.unref();
    try {
      await (await started).stop();
      process.exit(exitCode);
    } catch (error) {
      // After a failure, which has been printed, an error here is only its consequence.
      if (exitCode === 0) console.error("stopping failed:", error);
      process.exit(1);
    }
  }

  // Installed before the start, so that a signal during the start still stops the started parts.
  for (const [signal, number] of [
    ["SIGINT", 2],
    ["SIGTERM", 15],
    // SIGHUP: the terminal was closed.
    ["SIGHUP", 1],
  ] as const) {
    process.on(signal, () => {
      if (stoppingSince === undefined) {
        stoppingSince = performance.now();
        stopping.abort();
        void stop(0);
      } else if (signal === "SIGTERM" || (signal === "SIGINT" && !isDuplicate(stoppingSince))) {
        process.exit(128 + number);
      }
    });
  }
  void started.then(async ({ failed }) => {
    if (failed === undefined) return;
    console.error(messageOf(await failed));
    if (stoppingSince !== undefined) return;
    stoppingSince = performance.now();
    await stop(1);
  });
  start(stopping.signal).then(setStarted, (error: unknown) => {
    if (error === stopping.signal.reason) process.exit(0);
    console.error(error instanceof Error ? messageOf(error) : error);
    process.exit(1);
  });
}

/** The message of an error that is meant for operators; the stack of any other error. */
export function messageOf(error: Error): string {
  if (error instanceof ConnectError) return error.rawMessage;
  const forOperators = error.name === "Error" || error.name === "ConfigError";
  return forOperators && error.message !== "" ? error.message : (error.stack ?? error.name);
}

/** Whether a SIGINT now is a duplicate of the signal at `sinceMs`. */
function isDuplicate(sinceMs: number): boolean {
  return performance.now() - sinceMs < DUPLICATE_SIGNAL_MS;
}
