import { create } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import {
  type InstanceDeliveries,
  InstanceDeliveriesSchema,
} from "#gen/lucky/operations/v1/operations_pb.js";
import type { AskedProcess, Processes } from "#platform/process/processes.ts";
import type { Deliveries, DeliveryQuestion } from "./message-trace.ts";

/** Time-out of the answer of an instance, ms. */
const ANSWER_MS = 2_000;

/** Asks all connect instances at once, each on its operator's port. */
export function connectDeliveries(processes: Processes): Deliveries {
  return {
    async of(question, signal) {
      const instances = await processes.of("connect");
      return Promise.all(instances.map((instance) => deliveriesOf(instance, question, signal)));
    },
  };
}

/** The answer of an instance, or the reason why there is none. */
async function deliveriesOf(
  { instanceId, client }: AskedProcess,
  { conversationId, sequence, userIds }: DeliveryQuestion,
  signal: AbortSignal,
): Promise<InstanceDeliveries> {
  const failed = (failure: string) => create(InstanceDeliveriesSchema, { instanceId, failure });
  if (client === undefined) return failed("it announces no operator's port: an older version");
  try {
    const { deliveries } = await client.describeDeliveries(
      { conversationId, sequence, userIds: [...userIds] },
      { signal, timeoutMs: ANSWER_MS },
    );
    return deliveries ?? failed("it has no sessions of devices");
  } catch (error) {
    return failed(ConnectError.from(error).message);
  }
}
