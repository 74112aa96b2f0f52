import { create } from "@bufbuild/protobuf";
import {
  DeliveryState,
  type InstanceDeliveries,
  InstanceDeliveriesSchema,
  type SessionDelivery,
  SessionDeliverySchema,
} from "#gen/lucky/operations/v1/operations_pb.js";
import { groupChannel, userChannel } from "#platform/channels.ts";
import type { AskedEntry } from "#platform/process/process-service.ts";
import type { Session } from "../socket/session.ts";
import type { Channel, Channels, Watermark } from "../subscriptions/channels.ts";

/** Maximum sessions in an answer. */
const MAX_SESSIONS = 100;

/** The states of the deliveries of one entry to the sessions of this instance, for operators. */
export function deliveryStates(
  { channels, instanceId }: { channels: Pick<Channels, "get">; instanceId: string },
  entry: AskedEntry,
): InstanceDeliveries {
  const names = [groupChannel(entry.conversationId), ...entry.userIds.map(userChannel)];
  const hearing = new Map<Session, Channel>();
  for (const name of names) {
    const channel = channels.get(name);
    for (const session of channel?.sessions ?? [])
      if (session.isOpen) hearing.set(session, channel!);
  }
  // A large group has tens of thousands of sessions: only those of the answer get a message.
  const chosen: [Session, Channel][] = [];
  for (const isAcknowledged of [false, true])
    for (const [session, channel] of hearing) {
      if (chosen.length === MAX_SESSIONS) break;
      const watermark = channel.watermarks?.get(entry.conversationId);
      const state = stateOf(session, watermark, entry);
      if ((state === DeliveryState.ACKNOWLEDGED) === isAcknowledged)
        chosen.push([session, channel]);
    }
  return create(InstanceDeliveriesSchema, {
    instanceId,
    sessionCount: hearing.size,
    sessions: chosen.map(([session, channel]) => deliveryTo(session, channel, entry)),
  });
}

function deliveryTo(session: Session, channel: Channel, entry: AskedEntry): SessionDelivery {
  const { conversationId } = entry;
  const watermark = channel.watermarks?.get(conversationId);
  return create(SessionDeliverySchema, {
    userId: session.caller?.userId ?? "0",
    deviceId: session.caller?.deviceId ?? "",
    sessionId: session.id,
    state: stateOf(session, watermark, entry),
    acknowledgedSequence: BigInt(session.cursors.acked(conversationId) ?? 0),
    redeliveries: session.cursors.get(conversationId)?.attempts ?? 0,
  });
}

/** The watermark of a group's channel is the last sequence that was published to its sessions. */
function stateOf(
  { cursors }: Session,
  watermark: Watermark | undefined,
  { conversationId, sequence }: AskedEntry,
): DeliveryState {
  const cursor = cursors.get(conversationId);
  if ((cursors.acked(conversationId) ?? 0) >= sequence) return DeliveryState.ACKNOWLEDGED;
  if (cursor !== undefined && cursor.behind > 0) return DeliveryState.BEHIND;
  if (cursor === undefined && watermark === undefined) return DeliveryState.UNKNOWN;
  if (cursor?.missed) return DeliveryState.NOT_SENT;
  const published = cursors.inGroup(conversationId) ? (watermark?.last ?? 0) : 0;
  const sent = Math.max(cursor?.sent ?? 0, published);
  return sent >= sequence ? DeliveryState.SENT : DeliveryState.NOT_SENT;
}
