import { hkdfSync } from "node:crypto";
import type { ServiceName } from "#platform/service-name.ts";
import { environmentName } from "./config.ts";
import type { PlatformConfig } from "./settings.ts";

/** A setting with the secret of a service. */
export type SecretKey = "connectSecret" | "gatewaySecret" | "serverSecret";

const KEYS = {
  connect: "connectSecret",
  gateway: "gatewaySecret",
  server: "serverSecret",
} as const satisfies Partial<Record<ServiceName, SecretKey>>;

type CallingServiceName = keyof typeof KEYS;

/**
 * The services that call a process, each with its secret. auth calls no other service, so it has no
 * secret. connect accepts the gateway's, which proves the addresses of sockets.
 */
const CALLERS: Readonly<Record<ServiceName, readonly CallingServiceName[]>> = {
  auth: ["connect", "gateway", "server"],
  connect: ["gateway"],
  gateway: [],
  server: ["connect", "gateway"],
};

/** Settings of the secrets that a process needs: its own, and those of its callers. */
export function secretsOf(service: ServiceName): SecretKey[] {
  const own = service === "auth" ? [] : [service];
  return [...own, ...CALLERS[service]].map((name) => KEYS[name]);
}

/** The secret that a process presents: its newest one; empty for auth. */
export function ownSecret(service: ServiceName, platform: Pick<PlatformConfig, SecretKey>): string {
  return service === "auth" ? "" : (platform[KEYS[service]][0] ?? "");
}

/** The secrets that a process accepts, by the calling service. */
export function acceptedSecrets(
  service: ServiceName,
  platform: Pick<PlatformConfig, SecretKey>,
): Partial<Record<ServiceName, readonly string[]>> {
  return Object.fromEntries(CALLERS[service].map((name) => [name, platform[KEYS[name]]]));
}

/** The secret that server shares with the processes of a service. */
const SHARED_WITH_SERVER: Readonly<Record<ServiceName, SecretKey>> = {
  auth: "serverSecret",
  connect: "connectSecret",
  gateway: "gatewaySecret",
  server: "serverSecret",
};

/**
 * Secrets of server's calls to the operator's port of a service's process; server presents the
 * first. They are derived, because that port has no TLS: a leaked one is valid for this port only.
 */
export function operationsSecrets(
  service: ServiceName,
  platform: Pick<PlatformConfig, SecretKey>,
): string[] {
  return platform[SHARED_WITH_SERVER[service]].map((secret) =>
    Buffer.from(hkdfSync("sha256", secret, "", "lucky operations", 32)).toString("base64url"),
  );
}

/**
 * Faults that would defeat the separation of the services: a secret that the process does not need,
 * which a theft of its settings would reveal, and a secret that two services share.
 */
export function secretFaults(
  service: ServiceName,
  platform: Pick<PlatformConfig, SecretKey>,
): string[] {
  const needed = secretsOf(service);
  const faults: string[] = [];
  const owners = new Map<string, SecretKey>();
  for (const key of Object.values(KEYS)) {
    const variable = environmentName("", key);
    if (platform[key].length > 0 && !needed.includes(key)) {
      faults.push(`${variable} is not for ${service}: remove it`);
    }
    for (const value of platform[key]) {
      const owner = owners.get(value);
      if (owner !== undefined && owner !== key) {
        faults.push(`${environmentName("", owner)} and ${variable} must differ`);
      }
      owners.set(value, key);
    }
  }
  return faults;
}
