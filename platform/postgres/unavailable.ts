import type { ConnectError } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";

/** Why PostgreSQL did not do its work, although the call was right. A retry can succeed. */
interface Fault {
  /** For callers: nothing about the database that helps an attacker. */
  readonly text: string;
  readonly retryAfterMs: number;
}

const UNREACHABLE: Fault = {
  text: "the database cannot be reached or has no free connection",
  retryAfterMs: 1_000,
};

/** Faults by SQLSTATE. The first match counts. */
const FAULTS: readonly (Fault & { readonly states: RegExp })[] = [
  {
    // A statement or transaction that took too long, or a lock that was not free in time.
    states: /^(57014|55P03|25P04)$/,
    text: "the database did not answer in time",
    retryAfterMs: 1_000,
  },
  {
    // Read-only (a standby, also a former primary), full disk or memory, another limit, a failing
    // disk. This takes longer to end.
    states: /^(25006|53100|53200|53400|58[0-9A-Z]{3})$/,
    text: "the database cannot store anything at the moment",
    retryAfterMs: 5_000,
  },
  {
    // Serialization failure, deadlock, or an unknown result; all or nothing was stored.
    states: /^40[0-9A-Z]{3}$/,
    text: "the call collided with another one in the database",
    retryAfterMs: 100,
  },
  {
    // Connection exception, too many connections, operator intervention, a session that was idle in
    // a transaction; a password that was just changed, a database that was just replaced or accepts
    // no connections; a named statement that a pooler lost or a migration outdated. The next
    // connection may succeed.
    states: /^((08|53|57)[0-9A-Z]{3}|25P03|28000|28P01|3D000|55000|26000|42P05|0A000)$/,
    ...UNREACHABLE,
  },
];

/** Errors of the network, of name resolution, and of a process without free file descriptors. */
const SYSTEM_CODES =
  /^(ECONN[A-Z]+|ENOTCONN|EPIPE|ETIMEDOUT|E(HOST|NET)(DOWN|UNREACH)|ENETRESET|ENOTFOUND|EAI_[A-Z]+|EADDRNOTAVAIL|EMFILE|ENFILE)$/;

/** Texts of pg and its pool, whose errors have no code. */
const PG_TEXTS =
  /^(timeout exceeded when trying to connect|timeout expired|Connection terminated|Client (has|was) |Query read timeout|Cannot use a pool after calling end)/i;

/**
 * Codes of Prisma: a time-out or conflict of a transaction, and no connection in time. Other codes
 * have the error of its adapter inside.
 */
const PRISMA_FAULTS: ReadonlyMap<string, Fault> = new Map([
  ["P2024", UNREACHABLE],
  ["P2028", UNREACHABLE],
  ["P2034", FAULTS[2]!],
]);

/** Kinds of an error of Prisma's adapter that has no SQLSTATE. */
const ADAPTER_KINDS: ReadonlySet<unknown> = new Set([
  "DatabaseNotReachable",
  "ConnectionClosed",
  "SocketTimeout",
]);

/**
 * UNAVAILABLE for an error of pg, its pool or Prisma that says that PostgreSQL cannot do its work at
 * the moment; undefined for any other error. The call can be retried after the time in the error.
 */
export function databaseUnavailable(cause: unknown): ConnectError | undefined {
  const fault = faultOf(cause);
  if (fault === undefined) return undefined;
  const { text, retryAfterMs } = fault;
  return fail(ErrorReason.UNAVAILABLE, text, { retryAfterMs, cause });
}

/** Fields of an error of pg, of the system or of Prisma. */
interface DriverError {
  code?: unknown;
  syscall?: unknown;
  meta?: { driverAdapterError?: unknown };
}

function faultOf(error: unknown): Fault | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code, syscall, meta } = error as DriverError;
  if (typeof code !== "string") return PG_TEXTS.test(error.message) ? UNREACHABLE : undefined;
  // ENOENT: the Unix socket of a PostgreSQL that does not run.
  if (SYSTEM_CODES.test(code) || (code === "ENOENT" && syscall === "connect")) return UNREACHABLE;
  return faultOfState(code) ?? faultOfAdapter(meta?.driverAdapterError) ?? PRISMA_FAULTS.get(code);
}

function faultOfState(state: string): Fault | undefined {
  return FAULTS.find(({ states }) => states.test(state));
}

/** The fault of the error inside an error of Prisma. */
function faultOfAdapter(error: unknown): Fault | undefined {
  if (!(error instanceof Error)) return undefined;
  const { kind, originalCode } = (error.cause ?? {}) as { kind?: unknown; originalCode?: unknown };
  if (ADAPTER_KINDS.has(kind)) return UNREACHABLE;
  return typeof originalCode === "string" ? faultOfState(originalCode) : undefined;
}

/**
 * SQLSTATEs of a wrong setting, or of one that an operator has just changed: a wrong password or
 * database name, or the wrong kind of pooler.
 */
const SETTINGS = /^(28000|28P01|3D000|55000|26000|42P05|0A000|08P01)$/;

/**
 * Whether the error of a failed start, or its cause, means that PostgreSQL is away: a retry may
 * succeed without a change of the settings.
 */
export function isAwayAtStart(error: unknown): boolean {
  const found = [error, (error as Error).cause].find(
    (one) => databaseUnavailable(one) !== undefined,
  );
  return found !== undefined && !SETTINGS.test(String((found as DriverError).code ?? ""));
}
