import { Code, ConnectError } from "@connectrpc/connect";

/**
 * How a remote call failed: it never reached the other side; the connection broke, so that it may or
 * may not have been carried out; or the other side, or the deadline, gave an answer.
 */
export type TransportFailure = "unsent" | "broken" | "answered";

/** What Node.js calls the making of a connection. */
const CONNECTING = new Set(["connect", "getaddrinfo"]);

/** Tells how a call over the network failed. `signal` is the caller's own. */
export function classifyFailure(
  thrown: unknown,
  signal: AbortSignal | undefined,
): TransportFailure {
  const error = ConnectError.from(thrown);
  if (error.details.length > 0 || signal?.aborted || error.code === Code.DeadlineExceeded) {
    return "answered";
  }
  for (let at: unknown = thrown; at instanceof Error; at = at.cause) {
    if (!("code" in at) || typeof at.code !== "string") continue;
    return "syscall" in at && CONNECTING.has(String(at.syscall)) ? "unsent" : "broken";
  }
  // The other side says that it has not looked at the stream: it was stopping.
  if (error.rawMessage.includes("REFUSED_STREAM")) return "unsent";
  if (error.code === Code.Canceled || error.code === Code.Aborted) return "broken";
  return /^http\/2 |^protocol error: missing/.test(error.rawMessage) ? "broken" : "answered";
}
