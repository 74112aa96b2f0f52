import { fromBinary } from "@bufbuild/protobuf";
import { EnvelopeSchema } from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import type { Bus, Consumer } from "#platform/bus/bus.ts";
import type { Revocations } from "./revocations.ts";

/**
 * Learns ended logins from the bus, at once, for an instance that takes nothing else from its queue.
 * What it misses, and what ended while it was away, it learns by asking auth.
 */
export function consumeRevocations({
  bus,
  queue,
  revocations,
}: {
  bus: Bus;
  /** The instance's id. */
  queue: string;
  revocations: Pick<Revocations, "learn">;
}): Promise<Consumer> {
  return bus.consume(queue, async (body) => {
    for (const { loginId, expiresAtMs } of fromBinary(EnvelopeSchema, body).revocations) {
      revocations.learn(loginId, Number(expiresAtMs));
    }
  });
}
