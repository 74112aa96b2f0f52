import { readFileSync } from "node:fs";
import type { Clock } from "#platform/clock.ts";
import type { LimitsConfig } from "#platform/config/settings.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { type ConnectionBounds, createConnectionBounds, type Maxima } from "./connection-bounds.ts";
import { reportRefusals } from "./refusals.ts";

/**
 * Open files that connections of clients never take: those of databases, of other services, of the
 * operator's port and of Node itself.
 */
const RESERVED_FILES = 256;
/** Open files beyond which a higher limit changes nothing. */
const MAX_FILES = 10_000_000;
/** A process that could serve fewer connections does not start. */
const MIN_CONNECTIONS = 16;
/** A process that can serve fewer connections warns. */
const FEW_CONNECTIONS = 1_000;
/** Largest maxima that follow from the open-file limit. */
const MAX_PER_ADDRESS = 1_000;
const MAX_PER_NETWORK = 4_000;

const ADVICE = "raise it: ulimit -n, LimitNOFILE= of systemd, ulimits of a container";

type Settings = Pick<
  LimitsConfig,
  "connections" | "connectionsPerAddress" | "connectionsPerNetwork"
>;

export interface OpenBoundsOptions {
  readonly limits: Settings;
  /** Open files of a client's connection at most, such as two for a proxied WebSocket. */
  readonly filesPerConnection: number;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  /** Open-file limit of the process; the real one when absent. */
  readonly openFiles?: number;
}

/**
 * Creates the bounds of the connections of a process from its settings and its open-file limit. Warns
 * when the limit is low, and throws an error for operators when it is too low to serve anybody.
 */
export function openConnectionBounds(options: OpenBoundsOptions): ConnectionBounds {
  const { limits, filesPerConnection, log, metrics, openFiles = openFileLimit() } = options;
  const files = Math.min(openFiles, MAX_FILES) - RESERVED_FILES;
  const possible = Math.floor(files / filesPerConnection);
  if (possible < MIN_CONNECTIONS) {
    const needed = RESERVED_FILES + MIN_CONNECTIONS * filesPerConnection;
    throw new Error(
      `The process may open ${openFiles} files, and needs at least ${needed}: ${ADVICE}.`,
    );
  }
  if (possible < Math.max(FEW_CONNECTIONS, limits.connections)) {
    const wanted = limits.connections || undefined;
    log.warn({
      event: "open_file_limit_low",
      openFiles,
      connections: possible,
      wanted,
      advice: ADVICE,
    });
  }
  const maxima = maximaOf(limits, possible);
  log.info({ event: "connection_bounds", openFiles, ...maxima });
  return createConnectionBounds({ maxima, metrics, refused: reportRefusals(options) });
}

/** The maxima as the settings are now: they are live. */
function maximaOf(limits: Settings, possible: number): Maxima {
  return {
    get all() {
      return Math.min(limits.connections || possible, possible);
    },
    get address() {
      const most = Math.min(MAX_PER_ADDRESS, Math.ceil(this.all / 4));
      return limits.connectionsPerAddress || most;
    },
    get network() {
      const most = Math.min(MAX_PER_NETWORK, Math.ceil(this.all / 2));
      return limits.connectionsPerNetwork || most;
    },
  };
}

/**
 * Open files that the system allows this process. Node has raised the soft limit to the hard one.
 * Infinity where the system has no such limit.
 */
export function openFileLimit(): number {
  try {
    const limits = readFileSync("/proc/self/limits", "utf8");
    return number(/^Max open files +(\S+)/m.exec(limits)?.[1]);
  } catch {
    // Not Linux. The report is slower.
    const report = process.report.getReport() as unknown as Report;
    return number(report.userLimits?.open_files.soft);
  }
}

/** The part of Node's report that is used here. Windows has no user limits. */
interface Report {
  readonly userLimits?: { readonly open_files: { readonly soft: number | string } };
}

/** The number of a limit; Infinity for "unlimited" and for no limit. */
function number(limit: number | string | undefined): number {
  const value = Number(limit);
  return Number.isNaN(value) ? Number.POSITIVE_INFINITY : value;
}
