import type { Metrics } from "#platform/metrics.ts";
import { networkOf, siteOf } from "#platform/network.ts";

/**
 * The maximum that refused a connection; "proxy-header": it lacks the header of a proxy; "flood": an
 * earlier connection of its client was closed for a flood of requests; "tls-handshake": its handshake
 * failed or was late; "plain-text": it lacks the TLS of the port.
 */
export type Refusal = keyof Maxima | "proxy-header" | "flood" | "tls-handshake" | "plain-text";

/** Maximum open connections. */
export interface Maxima {
  /** The sum over all clients. */
  readonly all: number;
  /** The maximum for each IPv4 address, and for each /64 network of IPv6. */
  readonly address: number;
  /** The maximum for each /48 network of IPv6. */
  readonly network: number;
}

/** The place of a connection, or of a request on a shared connection. */
export interface Place {
  /**
   * Counts the place for another address; for none when the address is undefined. False when that
   * address has too many: then the place counts for no address, and the caller releases it.
   */
  move(address: string | undefined): boolean;
  /** Idempotent. */
  release(): void;
}

/** Reports a refused connection. */
export type Refused = (reason: Refusal, address: string | undefined) => void;

/** Bounds the open connections of clients, of all listeners of a process together. */
export interface ConnectionBounds {
  /**
   * Counts a connection. The address is undefined for a connection that is not a client's own, such
   * as a trusted proxy's: it counts only among all. Returns undefined when the connection is refused.
   */
  open(address: string | undefined): Place | undefined;
  /**
   * Counts a request or a tunnel of a client whose connection to a trusted proxy is not visible here.
   * It counts for the client's address only. Returns undefined when it is refused.
   */
  share(address: string): Place | undefined;
  readonly refused: Refused;
}

/**
 * Part of all places that is kept for addresses with few connections: as it fills, the maxima of an
 * address and of a network shrink.
 */
const KEPT_PART = 1 / 4;

const NONE: readonly string[] = [];

export interface ConnectionBoundsOptions {
  readonly maxima: Maxima;
  readonly metrics: Metrics;
  /** Called for each refused connection. */
  readonly refused: Refused;
}

/**
 * Creates the bounds of a process.
 *
 * Once three quarters of all places are taken, the maxima of an address and of a network shrink with
 * the square of the free part of the last quarter, down to one. An address with many connections is
 * therefore refused first, and an address without one is admitted until no place is free.
 */
export function createConnectionBounds(options: ConnectionBoundsOptions): ConnectionBounds {
  const { maxima, metrics, refused } = options;
  /** Places by address or /64, and by /48. */
  const counts = new Map<string, number>();
  let open = 0;
  const gauge = metrics.gauge("lucky_connections", "Open connections of clients");
  const maxGauge = metrics.gauge("lucky_connections_max", "Maximum open connections of clients");
  maxGauge.set(maxima.all);

  function setOpen(value: number): void {
    open = value;
    gauge.set(value);
    maxGauge.set(maxima.all);
  }

  function isFull(key: string, maximum: number): boolean {
    const { all } = maxima;
    const free = Math.max(0, Math.min(1, (all - open) / (all * KEPT_PART)));
    return (counts.get(key) ?? 0) >= Math.max(1, Math.floor(maximum * free * free));
  }

  /** Counts one more place for an address. Returns the keys of its counts; none when refused. */
  function count(address: string | undefined): readonly string[] | undefined {
    if (address === undefined) return NONE;
    const key = networkOf(address);
    if (isFull(key, maxima.address)) return refuse("address", address);
    const site = siteOf(address);
    if (site !== undefined && isFull(site, maxima.network)) return refuse("network", address);
    const keys = site === undefined ? [key] : [key, site];
    for (const one of keys) counts.set(one, (counts.get(one) ?? 0) + 1);
    return keys;
  }

  function uncount(keys: readonly string[]): void {
    for (const key of keys) {
      const left = counts.get(key)! - 1;
      if (left === 0) counts.delete(key);
      else counts.set(key, left);
    }
  }

  function refuse(reason: Refusal, address: string | undefined): undefined {
    refused(reason, address);
    return undefined;
  }

  const closed = () => setOpen(open - 1);
  const nothing = () => {};

  function place(counted: readonly string[], released: () => void): Place {
    let keys = counted;
    let held = true;
    return {
      move(address) {
        uncount(keys);
        const moved = held ? count(address) : undefined;
        keys = moved ?? NONE;
        return moved !== undefined;
      },
      release() {
        if (!held) return;
        held = false;
        uncount(keys);
        keys = NONE;
        released();
      },
    };
  }

  return {
    open(address) {
      if (open >= maxima.all) return refuse("all", address);
      const keys = count(address);
      if (keys === undefined) return undefined;
      setOpen(open + 1);
      return place(keys, closed);
    },
    share(address) {
      const keys = count(address);
      return keys && place(keys, nothing);
    },
    refused,
  };
}
