import type { ProxyChain } from "#platform/client-address.ts";
import type { Clock, Timer } from "#platform/clock.ts";
import type { ConnectionBounds, Place } from "#platform/connections/connection-bounds.ts";

/**
 * Time after which a connection without an upgrade gives its place back, ms. The native server has
 * closed it by then: it waits 10 s for a request, and as long for the end after the answer.
 */
const NO_UPGRADE_MS = 24_000;

/**
 * Places of the connections of a native server, which tells the address of a connection when it
 * opens, but not when it closes without an upgrade.
 */
export interface Admissions {
  /** Counts a new connection. False when it is refused. */
  accept(remote: string): boolean;
  /**
   * Returns the place of a connection that becomes a WebSocket of a device. The address is undefined
   * when a gateway proved it: then the gateway has counted the device. Returns undefined when the
   * device has too many places.
   */
  upgrade(remote: string, device: string | undefined): Place | undefined;
  /**
   * The upgrade of a gateway's connection is refused: its place is free at once. Otherwise one device
   * with refused upgrades could take all the places of its gateway.
   */
  refused(remote: string): void;
}

export function createAdmissions(options: {
  readonly bounds: ConnectionBounds;
  /** Whether devices connect directly, and their addresses are bounded. */
  readonly byAddress: boolean;
  readonly proxies: Pick<ProxyChain, "isProxy">;
  readonly clock: Clock;
}): Admissions {
  const { bounds, byAddress, proxies, clock } = options;
  /** Places without an upgrade, by the address of the peer. The places of an address are interchangeable. */
  const waiting = new Map<string, Set<{ readonly place: Place; readonly timer: Timer }>>();

  function open(remote: string): Place | undefined {
    return bounds.open(byAddress && !proxies.isProxy(remote) ? remote : undefined);
  }

  /** Takes one of the places of an address. */
  function take(remote: string): Place | undefined {
    const entries = waiting.get(remote);
    if (entries === undefined) return undefined;
    const [entry] = entries;
    entry!.timer.stop();
    entries.delete(entry!);
    if (entries.size === 0) waiting.delete(remote);
    return entry!.place;
  }

  return {
    accept(remote) {
      const place = open(remote);
      if (place === undefined) return false;
      // The oldest entry is the first one whose timer fires.
      const timer = clock.after(NO_UPGRADE_MS, () => take(remote)?.release());
      const entries = waiting.get(remote) ?? new Set();
      waiting.set(remote, entries.add({ place, timer }));
      return true;
    },
    refused: (remote) => take(remote)?.release(),
    upgrade(remote, device) {
      const place = take(remote) ?? open(remote);
      if (place === undefined || device === remote) return place;
      if (place.move(byAddress ? device : undefined)) return place;
      place.release();
      return undefined;
    },
  };
}
