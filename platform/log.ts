import { Code, ConnectError } from "@connectrpc/connect";
import { type DestinationStream, type Logger, pino } from "pino";

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
const REDACTED = [
  "authorization",
  "token",
  "accessToken",
  "refreshToken",
  "password",
  "meshSecret",
];

/**
 * Creates the log of a process: one JSON object per line, `time` as ISO 8601, an error under `err`.
 */
export function createLog({ service, instanceId, level, stream }: LogOptions): Log {
  const options = {
    level,
    base: { service, instanceId },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: shortened },
    redact: { paths: REDACTED.flatMap((name) => [name, `*.${name}`]), censor: "***" },
  };
  return stream === undefined ? pino(options) : pino(options, stream);
}

/** Leaves out the schema that an error of the contract carries in its details. */
function shortened(error: unknown): unknown {
  if (!(error instanceof ConnectError)) return pino.stdSerializers.err(error as Error);
  const { code, rawMessage, stack, cause } = error;
  return {
    type: error.name,
    code: Code[code],
    message: rawMessage,
    stack,
    cause: cause instanceof Error ? shortened(cause) : cause,
  };
}
