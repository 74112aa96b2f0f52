import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { EnvelopeSchema } from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import type { Log } from "#platform/log.ts";
import type { Registry } from "#platform/registry/registry.ts";

/** A login that ended before its last access token did. */
export interface Revocation {
  loginId: string;
  accessExpiresAtMs: number;
}

/** Tells all gateway and connect instances which logins have just ended. */
export interface RevocationNotifier {
  /** Returns at once; who does not hear it learns it by asking. */
  notify(revocations: readonly Revocation[]): void;
}

/** Those that take revocations from their queues; the others ask. */
const NOTIFIED_SERVICES = ["connect", "gateway"];
const PUBLISH_TIMEOUT_MS = 2_000;
/** Logins in one envelope: some 60 KiB. */
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
  async function tell(revocations: readonly Revocation[]): Promise<void> {
    const found = await Promise.all(
      NOTIFIED_SERVICES.map((service) => registry.instances(service)),
    );
    const bodies = Array.from(
      { length: Math.ceil(revocations.length / MAX_REVOCATIONS_PER_ENVELOPE) },
      (_, at) =>
        encode(
          revocations.slice(
            at * MAX_REVOCATIONS_PER_ENVELOPE,
            (at + 1) * MAX_REVOCATIONS_PER_ENVELOPE,
          ),
        ),
    );
    const signal = AbortSignal.timeout(PUBLISH_TIMEOUT_MS);
    await Promise.all(
      found.flat().flatMap(({ instanceId }) =>
        // An instance without a queue has no sessions either.
        bodies.map((body) => bus.publish(instanceId, body, signal)),
      ),
    );
  }
  return {
    notify(revocations) {
      if (revocations.length === 0) return;
      tell(revocations).catch((err: unknown) =>
        log.warn({ event: "login_news_not_told", logins: revocations.length, err }),
      );
    },
  };
}

function encode(ended: readonly Revocation[]): Uint8Array {
  const revocations = ended.map(({ loginId, accessExpiresAtMs }) => ({
    loginId,
    expiresAtMs: BigInt(accessExpiresAtMs),
  }));
  const envelope: MessageInitShape<typeof EnvelopeSchema> = { revocations };
  return toBinary(EnvelopeSchema, create(EnvelopeSchema, envelope));
}
