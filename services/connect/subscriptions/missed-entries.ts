import { groupChannel, userChannel } from "#platform/channels.ts";
import { syncRequiredFrame } from "../socket/frames.ts";
import type { Session } from "../socket/session.ts";
import type { Channels, Watermark } from "./channels.ts";

/** What was last delivered of a conversation to one of the session's channels. */
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

/** Up to which sequence a session was sent a conversation, or has it anyway. */
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
 * Tells a session that can take frames again of every conversation of which it missed something.
 * Returns whether more was missed than was remembered.
 */
export function requireSync(session: Session, channels: Channels): boolean {
  const { cursors } = session;
  const lacking = new Set(cursors.takeMissed());
  if (session.missedGroupEntries) {
    session.missedGroupEntries = false;
    for (const groupId of cursors.groups()) {
      const watermark = channels.get(groupChannel(groupId))?.watermarks?.get(groupId);
      const acked = cursors.acked(groupId) ?? (watermark?.first ?? 1) - 1;
      if (watermark && watermark.last > acked) lacking.add(groupId);
    }
  }
  for (const conversationId of lacking) {
    const last = watermarkOf(session, conversationId, channels)?.last ?? 0;
    session.sendRequired(syncRequiredFrame(conversationId, last));
  }
  const forgot = cursors.evictedMissed;
  cursors.evictedMissed = false;
  return forgot;
}
