import { Code, ConnectError } from "@connectrpc/connect";
import { type DestinationStream, type Logger, pino } from "pino";
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
}

/** Fields that are redacted at the top level of a line and one level below. */
const REDACTED = ["authorization", "token", "accessToken", "refreshToken", "password", "secret"];

/** Maximum bytes of a text in a line, and of the stack of an error. A text may come from outside. */
const MAX_TEXT_BYTES = 512;
const MAX_STACK_BYTES = 4_096;
/** Maximum items of an array in a line, and maximum depth of a line. The rest is left out. */
const MAX_ITEMS = 100;
const MAX_DEPTH = 5;

/**
 * Creates the log of a process: one JSON object per line, `time` as ISO 8601, an error under `err`.
 * Long texts and arrays are cut.
 */
export function createLog({ service, instanceId, level, stream }: LogOptions): Log {
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
