import { groupChannel, userChannel } from "#platform/channels.ts";
import { syncRequiredFrame } from "../socket/frames.ts";
import type { Session } from "../socket/session.ts";
import type { Channels, Watermark } from "./channels.ts";

/** The watermark of a conversation on the session's channel for it. */
function watermarkOf(
  session: Session,
  conversationId: string,
  channels: Channels,
): Watermark | undefined {
  const userId = session.caller?.userId;
  const name = session.cursors.inGroup(conversationId)
    ? groupChannel(conversationId)
    : userId !== undefined && userChannel(userId);
  return name ? channels.get(name)?.watermarks?.get(conversationId) : undefined;
}

/** The last sequence of a conversation that was sent to the session or that it has acknowledged. */
export function lastSentSequence(
  session: Session,
  conversationId: string,
  channels: Channels,
): number {
  const { cursors } = session;
  const cursor = cursors.get(conversationId);
  const acked = cursors.acked(conversationId) ?? 0;
  if (cursor?.missed) return acked;
  if (!cursors.inGroup(conversationId)) return Math.max(acked, cursor?.sent ?? 0);
  if (session.missedGroupEntries) return acked;
  return Math.max(acked, watermarkOf(session, conversationId, channels)?.last ?? 0);
}

/**
 * Sends SyncRequired for every conversation with missed entries, to a session that has room for
 * frames. Returns whether cursors with missed entries were evicted: only a sweep finds the
 * conversations of evicted cursors.
 */
export function requireSync(session: Session, channels: Channels): boolean {
  const { cursors } = session;
  const missed = new Set(cursors.takeMissed());
  if (session.missedGroupEntries) {
    session.missedGroupEntries = false;
    for (const groupId of cursors.groups()) {
      const watermark = channels.get(groupChannel(groupId))?.watermarks?.get(groupId);
      const acked = cursors.acked(groupId) ?? (watermark?.first ?? 1) - 1;
      if (watermark && watermark.last > acked) missed.add(groupId);
    }
  }
  for (const conversationId of missed) {
    const last = watermarkOf(session, conversationId, channels)?.last ?? 0;
    session.sendRequired(syncRequiredFrame(conversationId, last));
  }
  const evicted = cursors.evictedMissed;
  cursors.evictedMissed = false;
  return evicted;
}
