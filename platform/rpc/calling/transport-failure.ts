import { Code, ConnectError } from "@connectrpc/connect";

/**
 * How a remote call failed.
 * - "unsent": the call never reached the service, so a retry is safe.
 * - "broken": the connection broke; the service may or may not have carried the call out.
 * - "impaired": the instance answered that it cannot serve at all, as without its database. It may or
 *   may not have carried the call out.
 * - "answered": the service answered with an error.
 * - "unanswered": the deadline passed, or the caller aborted.
 */
export type TransportFailure = "unsent" | "broken" | "impaired" | "answered" | "unanswered";

/** Cause of an error with which an instance says that it cannot serve. */
export const IMPAIRED = new Error("the instance cannot serve at the moment");

/** System calls that open a connection, as Node.js names them in errors. */
const CONNECT_SYSCALLS = new Set(["connect", "getaddrinfo"]);

/** Classifies the failure of a call over the network. `signal` is the caller's own. */
export function classifyFailure(
  thrown: unknown,
  signal: AbortSignal | undefined,
): TransportFailure {
  const error = ConnectError.from(thrown);
  if (signal?.aborted) return "unanswered";
  if (error.cause === IMPAIRED) return "impaired";
  if (error.details.length > 0) return "answered";
  if (error.code === Code.DeadlineExceeded) return "unanswered";
  for (let at: unknown = thrown; at instanceof Error; at = at.cause) {
    if (!("code" in at) || typeof at.code !== "string") continue;
    return "syscall" in at && CONNECT_SYSCALLS.has(String(at.syscall)) ? "unsent" : "broken";
  }
  // The service was stopping and did not process the call.
  if (error.rawMessage.includes("REFUSED_STREAM")) return "unsent";
  if (error.code === Code.Canceled || error.code === Code.Aborted) return "broken";
  return /^http\/2 |^protocol error: missing/.test(error.rawMessage) ? "broken" : "answered";
}
