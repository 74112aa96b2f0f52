import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { EnvelopeSchema } from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import type { Log } from "#platform/log.ts";
import type { Registry } from "#platform/registry/registry.ts";

/** A login that ended while its last access token is still valid. */
export interface Revocation {
  loginId: string;
  accessExpiresAtMs: number;
}

/** Notifies all gateway and connect instances of logins that have just ended. */
export interface RevocationNotifier {
  /**
   * Returns at once. An instance that misses the notification learns of the logins when it polls
   * ListRevocations.
   */
  notify(revocations: readonly Revocation[]): void;
}

/** Services that consume revocations from their queues. All others poll. */
const NOTIFIED_SERVICES = ["connect", "gateway"];
const PUBLISH_TIMEOUT_MS = 2_000;
/** Maximum logins in one envelope, about 60 KiB. */
const MAX_REVOCATIONS_PER_ENVELOPE = 1_000;

export function createRevocationNotifier({
  bus,
  registry,
  log,
}: {
  bus: Bus;
  registry: Registry;
  log: Log;
}): RevocationNotifier {
  async function publish(revocations: readonly Revocation[]): Promise<void> {
    const found = await Promise.all(
      NOTIFIED_SERVICES.map((service) => registry.instances(service)),
    );
    const bodies = batchesOf(revocations).map(encode);
    const signal = AbortSignal.timeout(PUBLISH_TIMEOUT_MS);
    await Promise.all(
      found.flat().flatMap(({ instanceId }) =>
        // The bus drops an envelope for an instance without a queue: it has no sessions either.
        bodies.map((body) => bus.publish(instanceId, body, signal)),
      ),
    );
  }
  return {
    notify(revocations) {
      if (revocations.length === 0) return;
      publish(revocations).catch((err: unknown) =>
        log.warn({ event: "revocations_not_published", logins: revocations.length, err }),
      );
    },
  };
}

function batchesOf(revocations: readonly Revocation[]): (readonly Revocation[])[] {
  const count = Math.ceil(revocations.length / MAX_REVOCATIONS_PER_ENVELOPE);
  return Array.from({ length: count }, (_, at) =>
    revocations.slice(at * MAX_REVOCATIONS_PER_ENVELOPE, (at + 1) * MAX_REVOCATIONS_PER_ENVELOPE),
  );
}

function encode(ended: readonly Revocation[]): Uint8Array {
  const revocations = ended.map(({ loginId, accessExpiresAtMs }) => ({
    loginId,
    expiresAtMs: BigInt(accessExpiresAtMs),
  }));
  const envelope: MessageInitShape<typeof EnvelopeSchema> = { revocations };
  return toBinary(EnvelopeSchema, create(EnvelopeSchema, envelope));
}
