import { createHash, timingSafeEqual } from "node:crypto";
import { createContextKey } from "@connectrpc/connect";
import type { ServiceName } from "#platform/service-name.ts";

/** Secrets that a process accepts, by the calling service. During a rotation a service has two. */
export type AcceptedSecrets = Readonly<Partial<Record<ServiceName, readonly string[]>>>;

/** Identifies the calling service of a call or of a connection. */
export interface MeshCallers {
  /** The service that a secret belongs to; undefined for any other text. */
  identify(secret: string): ServiceName | undefined;
}

/**
 * The service that calls: set by a transport that has identified it already, such as a lean link, or
 * else by the access interceptor. Undefined for devices.
 */
export const callingService = createContextKey<ServiceName | undefined>(undefined, {
  description: "calling service",
});

/**
 * Services whose calls may carry the address of a device: the two that forward calls of devices. A
 * stolen secret of another service cannot forge addresses.
 */
export const FORWARDING_SERVICES: ReadonlySet<ServiceName> = new Set(["connect", "gateway"]);

/**
 * Identifies calling services by their secrets. The time of a comparison reveals neither the length
 * of a secret nor which one matched.
 */
export function meshCallers(secrets: AcceptedSecrets): MeshCallers {
  const known = Object.entries(secrets).flatMap(([service, values]) =>
    values.map((value) => ({ service: service as ServiceName, digest: digestOf(value) })),
  );
  return {
    identify(secret) {
      if (secret === "") return undefined;
      const given = digestOf(secret);
      let found: ServiceName | undefined;
      for (const { service, digest } of known) {
        if (timingSafeEqual(given, digest)) found = service;
      }
      return found;
    },
  };
}

function digestOf(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}
