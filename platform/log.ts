import { Code, ConnectError } from "@connectrpc/connect";
import { type DestinationStream, type LogFn, type Logger, pino } from "pino";
import { type Clock, systemClock } from "./clock.ts";
import { excerpt } from "./excerpt.ts";

/** Structured log. A line is an event, `log.info({ event: "session_end", reason })`, not prose. */
export type Log = Logger;

export interface LogOptions {
  readonly service: string;
  readonly instanceId: string;
  /** trace, debug, info, warn, error or silent. */
  readonly level: string;
  /** Destination of the lines; standard output when absent. */
  readonly stream?: DestinationStream;
  /** Ends the windows in which repeated lines are counted; the system clock when absent. */
  readonly clock?: Pick<Clock, "after">;
}

/** Fields that are redacted at the top level of a line and one level below. */
const REDACTED = ["authorization", "token", "accessToken", "refreshToken", "password", "secret"];

/** Maximum bytes of a text in a line, and of the stack of an error. A text may come from outside. */
const MAX_TEXT_BYTES = 512;
const MAX_STACK_BYTES = 4_096;
/** Maximum items of an array in a line, and maximum depth of a line. The rest is left out. */
const MAX_ITEMS = 100;
const MAX_DEPTH = 5;

/** Lines of one kind, of level warn and above, in a window; further ones are only counted. */
const MAX_REPEATED = 5;
const WINDOW_MS = 10_000;
/** Kinds that are counted in one window. Further kinds are counted together. */
const MAX_KINDS = 1_000;
/** Fields that, with the event, distinguish kinds of lines. */
const KIND_FIELDS = ["method", "reason", "code", "job", "queue", "pool", "database", "backend"];

/**
 * Creates the log of a process: one JSON object per line, `time` as ISO 8601, an error under `err`.
 * Long texts and arrays are cut. Lines of level warn and above are bounded per kind: after the first
 * five in ten seconds, one line `lines_suppressed` with their number follows at the end of that time.
 */
export function createLog(given: LogOptions): Log {
  const { service, instanceId, level, stream, clock = systemClock } = given;
  const admits = repetitionBound(clock);
  const options = {
    level,
    base: { service, instanceId },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: {
      level: (label: string) => ({ level: label }),
      log: (line: Record<string, unknown>) => bounded(line, 0) as Record<string, unknown>,
    },
    serializers: {
      err: (error: unknown) => bounded(shortened(error), 0),
      // The library copies the message of an error into the line.
      msg: (text: unknown) => bounded(text, 0),
    },
    hooks: {
      logMethod(this: Logger, args: Parameters<LogFn>, write: LogFn, severity: number) {
        if (severity < WARN || admits(this, args[0], severity)) write.apply(this, args);
      },
    },
    redact: { paths: REDACTED.flatMap((name) => [name, `*.${name}`]), censor: "***" },
  };
  return stream === undefined ? pino(options) : pino(options, stream);
}

/**
 * Returns a function that sets the level of a log while the process runs, also of the logs that are
 * derived from it after this call.
 */
export function levelSetter(log: Log): (level: string) => void {
  const logs = [log];
  log.onChild = (child) => void logs.push(child);
  return (level) => {
    for (const one of logs) one.level = level;
  };
}

const WARN = pino.levels.values.warn!;

/** Events that are always written: their number has other bounds, and each names another login. */
const UNBOUNDED = new Set(["lines_suppressed", "refresh_token_reused"]);

interface Repeated {
  readonly log: Logger;
  readonly severity: number;
  readonly kind: Readonly<Record<string, unknown>>;
  lines: number;
}

/** Decides whether a line is written. The end of each window reports the suppressed lines. */
function repetitionBound(
  clock: Pick<Clock, "after">,
): (log: Logger, line: unknown, severity: number) => boolean {
  let kinds = new Map<string, Repeated>();
  const endWindow = () => {
    const ended = kinds;
    kinds = new Map();
    for (const { log, severity, kind, lines } of ended.values()) {
      const suppressed = lines - MAX_REPEATED;
      const line = { ...kind, event: "lines_suppressed", of: kind.event, suppressed };
      if (suppressed > 0) log[severity === WARN ? "warn" : "error"](line);
    }
  };
  return (log, line, severity) => {
    const { event, ...fields } = (line ?? {}) as Record<string, unknown>;
    // Lines without an event are texts, such as those of a library: they have no kind.
    if (typeof event !== "string" || UNBOUNDED.has(event)) return true;
    const kind: Record<string, unknown> = { event };
    for (const name of KIND_FIELDS) if (typeof fields[name] === "string") kind[name] = fields[name];
    const text = JSON.stringify(kind);
    const key = kinds.has(text) || kinds.size < MAX_KINDS ? text : "";
    let repeated = kinds.get(key);
    if (repeated === undefined) {
      if (kinds.size === 0) clock.after(WINDOW_MS, endWindow);
      repeated = { log, severity, kind: key === "" ? { event: "others" } : kind, lines: 0 };
      kinds.set(key, repeated);
    }
    repeated.lines += 1;
    return repeated.lines <= MAX_REPEATED;
  };
}

/** Leaves out the schema that an error of the contract carries in its details. */
function shortened(error: unknown): unknown {
  if (!(error instanceof ConnectError)) {
    const plain = pino.stdSerializers.err(error as Error);
    return error instanceof Error ? { ...plain, stack: shortStack(plain.stack, error) } : plain;
  }
  const { code, rawMessage, stack = "", cause } = error;
  return {
    type: error.name,
    code: Code[code],
    message: rawMessage,
    stack: shortStack(stack, error),
    cause: cause instanceof Error ? shortened(cause) : cause,
  };
}

/** A stack begins with the message of its error: a long message would leave no room for the frames. */
function shortStack(stack: string, { message }: Error): string {
  return stack.replace(message, () => excerpt(message, MAX_TEXT_BYTES));
}

/** A copy of plain data with its texts and arrays cut. Errors are left to their serializer. */
function bounded(value: unknown, depth: number): unknown {
  if (typeof value === "string") return excerpt(value, MAX_TEXT_BYTES);
  if (typeof value !== "object" || value === null || value instanceof Error) return value;
  if (depth === MAX_DEPTH) return undefined;
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
  if (Array.isArray(value)) {
    return value.slice(0, MAX_ITEMS).map((item) => bounded(item, depth + 1));
  }
  if ("toJSON" in value) return value;
  const copy: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(value)) {
    const isStack = name === "stack" && typeof field === "string";
    copy[name] = isStack ? excerpt(field, MAX_STACK_BYTES) : bounded(field, depth + 1);
  }
  return copy;
}
