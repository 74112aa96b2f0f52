import { Code, ConnectError } from "@connectrpc/connect";
import { type DestinationStream, type Logger, pino } from "pino";

/** Structured log. Lines are events, `log.info({ event: "session_end", reason })`, not prose. */
export type Log = Logger;

export interface LogOptions {
  readonly service: string;
  readonly instanceId: string;
  /** trace, debug, info, warn, error or silent. */
  readonly level: string;
  /** Where lines go; standard output when absent. */
  readonly stream?: DestinationStream;
}

/** What must never stand in a log, wherever a line carries it at its top or one level down. */
const HIDDEN = ["authorization", "token", "accessToken", "refreshToken", "password", "meshSecret"];

/** Makes the log of a process: one JSON object a line, `time` as ISO 8601, an error under `err`. */
export function createLog({ service, instanceId, level, stream }: LogOptions): Log {
  const options = {
    level,
    base: { service, instanceId },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: shortened },
    redact: { paths: HIDDEN.flatMap((name) => [name, `*.${name}`]), censor: "***" },
  };
  return stream === undefined ? pino(options) : pino(options, stream);
}

/** An error without the schema that an error of the contract drags along in its details. */
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
