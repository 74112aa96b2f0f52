import { fromBinary } from "@bufbuild/protobuf";
import { EnvelopeSchema } from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import type { Bus, Consumer } from "#platform/bus/bus.ts";
import type { Revocations } from "./revocations.ts";

/**
 * Receives ended logins from the bus, for an instance whose queue carries only revocations. Polling
 * auth covers lost messages and logins that ended while the instance did not run.
 */
export function consumeRevocations({
  bus,
  queue,
  revocations,
}: {
  bus: Bus;
  /** Id of the instance. */
  queue: string;
  revocations: Pick<Revocations, "learn">;
}): Promise<Consumer> {
  return bus.consume(queue, async (body) => {
    for (const { loginId, expiresAtMs } of fromBinary(EnvelopeSchema, body).revocations) {
      revocations.learn(loginId, Number(expiresAtMs));
    }
  });
}
