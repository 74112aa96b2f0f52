import { setFlagsFromString } from "node:v8";
import { ConnectError } from "@connectrpc/connect";

/** How long a stop may take before the process ends anyway. */
const STOP_MS = 15_000;
/** Ctrl-C reaches us from the terminal, and once more from an npm that passes it on. */
const ECHO_MS = 300;

/** Small buffers share so much memory: an ArrayBuffer costs more than what it holds (measured: a tenth). */
const BUFFER_POOL_BYTES = 262_144;

/**
 * How far the heap grows before all of it is collected, in percent of what was alive the last time.
 * Left alone, V8 lets the heap of a process that had a quiet half-minute grow by a third at most, for
 * as long as the load then lasts (measured: connect collected 91 times in 15 s instead of 19, and a
 * message cost it 9 µs instead of 6). What it gives back while all is quiet, it still does.
 */
const HEAP_GROWTH_PERCENT = 200;

/** What a main has started. */
export interface Stoppable {
  stop(): Promise<void>;
}

/**
 * Runs a process until SIGINT, SIGTERM or SIGHUP: then stops it, within 15 s, and exits with 0, or
 * with 1 when the stop failed or took too long. A second SIGINT or SIGTERM ends it at once. A start
 * that fails prints why, plainly, and exits with 1.
 */
export function runProcess(start: () => Promise<Stoppable>): void {
  Buffer.poolSize = BUFFER_POOL_BYTES;
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`);
  let stoppingSince: number | undefined;
  const { promise: started, resolve: setStarted } = Promise.withResolvers<Stoppable>();

  async function stop(): Promise<void> {
    const timer = setTimeout(() => {
      console.error(`not stopped within ${STOP_MS / 1000} s: ended`);
      process.exit(1);
    }, STOP_MS);
    timer.unref();
    try {
      await (await started).stop();
      process.exit(0);
    } catch (error) {
      console.error("stopping failed:", error);
      process.exit(1);
    }
  }

  // Before the start: a signal that comes meanwhile must not leave things half done.
  for (const [signal, number] of [
    ["SIGINT", 2],
    ["SIGTERM", 15],
    // The terminal was closed.
    ["SIGHUP", 1],
  ] as const) {
    process.on(signal, () => {
      if (stoppingSince === undefined) {
        stoppingSince = performance.now();
        void stop();
      } else if (signal === "SIGTERM" || (signal === "SIGINT" && !isEcho(stoppingSince))) {
        process.exit(128 + number);
      }
    });
  }
  start().then(setStarted, (error: unknown) => {
    console.error(error instanceof Error ? plain(error) : error);
    process.exit(1);
  });
}

/** The text alone of an error that was made for people, the stack too of one that was not. */
function plain(error: Error): string {
  if (error instanceof ConnectError) return error.rawMessage;
  const forPeople = error.name === "Error" || error.name === "ConfigError";
  return forPeople && error.message !== "" ? error.message : (error.stack ?? error.name);
}

/** Whether a SIGINT now is the one of `sinceMs` once more. */
function isEcho(sinceMs: number): boolean {
  return performance.now() - sinceMs < ECHO_MS;
}
