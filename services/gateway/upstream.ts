import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { MeshTls } from "#platform/mesh-tls.ts";
import type { Instance } from "#platform/registry/registry.ts";
import { performHandshake } from "./handshake.ts";

export interface UpstreamOptions {
  /** Connect instances, in the order in which they are tried. */
  readonly instances: readonly Instance[];
  /** Head of the upgrade request, with the empty line that ends it. */
  readonly head: string;
  /** Connection of the device; the search stops when it closes. */
  readonly device: Duplex;
  readonly tls: MeshTls | undefined;
  readonly log: Log;
  readonly clock: Clock;
  /** Time-out for an instance to accept the connection, and then to answer the upgrade, ms. */
  readonly timeoutMs: number;
}

/**
 * Result of the search for an instance; "gone" when the device closed its connection during the
 * search.
 */
export type Upstream =
  | { readonly kind: "upgraded"; readonly socket: Socket; readonly instanceId: string }
  | { readonly kind: "refused"; readonly socket: Socket }
  | { readonly kind: "unreachable" }
  | { readonly kind: "gone" };

/**
 * Sends an upgrade request to connect instances, one at a time, until one answers. An instance that
 * cannot be reached, times out, is full or stops is skipped; any other refusal is an answer. When all
 * were skipped, the answer of the last one that is full or stops is the result.
 */
export async function findUpstream(options: UpstreamOptions): Promise<Upstream> {
  const { head, device, tls, log, clock, timeoutMs } = options;
  let unavailable: Socket | undefined;
  for (const instance of options.instances) {
    if (device.destroyed) break;
    const { instanceId } = instance;
    const socket = await connectTo(instance, { tls, timeoutMs });
    if (socket instanceof Error) {
      log.warn({ event: "tunnel_unreachable", to: instanceId, err: socket });
      continue;
    }
    const handshake = await performHandshake({ upstream: socket, head, clock, timeoutMs });
    if (handshake === "no-answer") {
      socket.destroy();
      log.warn({ event: "tunnel_unanswered", to: instanceId });
      continue;
    }
    unavailable?.destroy();
    unavailable = undefined;
    if (handshake !== "unavailable") return { kind: handshake, socket, instanceId };
    unavailable = socket;
  }
  if (device.destroyed) {
    unavailable?.destroy();
    return { kind: "gone" };
  }
  return unavailable ? { kind: "refused", socket: unavailable } : { kind: "unreachable" };
}

/**
 * Opens a connection to an instance, with the handshake of TLS. Returns the error when it fails or
 * times out.
 */
function connectTo(
  instance: Instance,
  { tls, timeoutMs }: Pick<UpstreamOptions, "tls" | "timeoutMs">,
): Promise<Socket | Error> {
  const { hostname, port } = new URL(instance.address);
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  return new Promise((resolve) => {
    const to = {
      host,
      port: Number(port || 80),
      noDelay: true,
      keepAlive: true,
      allowHalfOpen: true,
      timeout: timeoutMs,
    };
    const socket = tls ? tls.connect("connect", to) : connect(to);
    socket.once("timeout", () => socket.destroy(new Error(`no answer within ${timeoutMs} ms`)));
    socket.once("error", resolve);
    socket.once(tls ? "secureConnect" : "connect", () => {
      socket.setTimeout(0);
      socket.removeAllListeners("timeout");
      // The error listener stays: until the splice, nothing else handles an error of this socket.
      resolve(socket);
    });
  });
}
