import { type Conversations, channelsOf } from "../conversations/conversations.ts";
import type { CommittedEntry } from "../log/write-entry.ts";
import { deliveryOf } from "./envelopes.ts";
import type { Outbox } from "./outbox.ts";
import type { Relay } from "./relay.ts";

/**
 * Publishes an entry that the server wrote; called after the commit of its transaction, once per entry
 * and in the order of the entries. Evicts the cached conversation when its memberships changed. Never
 * throws, never waits: what the relay does not publish, the compensation does.
 */
export function publishEntry(
  { conversations, relay, outbox }: { conversations: Conversations; relay: Relay; outbox: Outbox },
  written: CommittedEntry,
): void {
  const { outboxId, conversationId, conversationKind: kind, users, body, membersChanged } = written;
  if (membersChanged) conversations.evict(conversationId);
  const channels = channelsOf({ conversationId, kind, users });
  const delivery = deliveryOf({ conversationId, channels }, [written]);
  const spans = written.span === undefined ? [] : [written.span];
  relay.offer({ outboxId, outbox, bytes: body.length, spans, deliveries: () => [delivery] });
}
