import type { ConnectError } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";

const RETRY_AFTER_MS = 1_000;

/**
 * SQLSTATE classes and codes: connection exception, insufficient resources (also: too many
 * connections), operator intervention, system error, read-only transaction (on a standby), and a
 * session that PostgreSQL ended because it was idle in a transaction.
 */
const SQLSTATES = /^(08|53|57|58)[0-9A-Z]{3}$|^(25006|25P03)$/;

/** Errors of the network, of name resolution, and of a process without free file descriptors. */
const SYSTEM_CODES =
  /^(ECONN[A-Z]+|ENOTCONN|EPIPE|ETIMEDOUT|E(HOST|NET)(DOWN|UNREACH)|ENETRESET|ENOTFOUND|EAI_[A-Z]+|EADDRNOTAVAIL|EMFILE|ENFILE)$/;

/** Texts of pg and its pool, whose errors have no code. */
const PG_TEXTS =
  /^(timeout exceeded when trying to connect|timeout expired|Connection terminated|Client (has|was) |Query read timeout)/i;

/** Prisma: no connection in time, and a transaction that did not start or end in time. */
const PRISMA_CODES: ReadonlySet<unknown> = new Set(["P2024", "P2028"]);

/** Kinds of an error of Prisma's adapter that has no SQLSTATE. */
const ADAPTER_KINDS: ReadonlySet<unknown> = new Set([
  "DatabaseNotReachable",
  "ConnectionClosed",
  "SocketTimeout",
]);

/**
 * UNAVAILABLE for an error of pg, its pool or Prisma that says that PostgreSQL cannot be reached, or
 * that no connection was free in time; undefined for any other error. The call can be retried.
 */
export function databaseUnavailable(cause: unknown): ConnectError | undefined {
  if (!isUnavailable(cause)) return undefined;
  return fail(ErrorReason.UNAVAILABLE, "the database cannot be reached or has no free connection", {
    retryAfterMs: RETRY_AFTER_MS,
    cause,
  });
}

function isUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code, meta } = error as { code?: unknown; meta?: { driverAdapterError?: unknown } };
  if (typeof code !== "string") return PG_TEXTS.test(error.message);
  return (
    SQLSTATES.test(code) ||
    SYSTEM_CODES.test(code) ||
    PRISMA_CODES.has(code) ||
    isAdapterUnavailable(meta?.driverAdapterError)
  );
}

/** Whether the error inside an error of Prisma says so. */
function isAdapterUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { kind, originalCode } = (error.cause ?? {}) as { kind?: unknown; originalCode?: unknown };
  return (
    ADAPTER_KINDS.has(kind) || (typeof originalCode === "string" && SQLSTATES.test(originalCode))
  );
}
