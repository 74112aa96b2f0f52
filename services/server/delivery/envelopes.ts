import { userChannel } from "#platform/channels.ts";
import type { Span } from "#platform/tracing/traces.ts";
import { varintSize, WireWriter } from "#platform/wire.ts";
import type { MembershipChange } from "../log/memberships.ts";

/** New entries of one conversation, for the sessions that hear its channels. */
export interface Delivery {
  readonly conversationId: string;
  readonly channels: readonly string[];
  /** In ascending order of their sequences, without gaps after `baseSequence`. */
  readonly entries: readonly DeliveredEntry[];
  readonly baseSequence: number;
  readonly memberships: readonly DeliveredMembership[];
}

export interface DeliveredMembership extends MembershipChange {
  /** Sequence of the entry that tells of the change: the first one that a new member may see. */
  readonly sequence: number;
}

export interface DeliveredEntry {
  /** Bytes of im.entry.body. */
  readonly body: Uint8Array;
  readonly acceptedAtMs: number;
  /** Session of the sender, which does not get the entry; empty for none. */
  readonly originSessionId: string;
}

/** An entry of the log that no session has sent, or whose session is not known. */
export interface LogEntry {
  readonly sequence: number;
  readonly acceptedAtMs: number;
  /** Bytes of im.entry.body. */
  readonly body: Uint8Array;
  readonly memberships: readonly MembershipChange[];
}

/** An ephemeral frame. */
export interface Signal {
  readonly channels: readonly string[];
  /** Encoded lucky.frame.v1.ServerFrame. */
  readonly frame: Uint8Array;
  /** User whose sessions do not get the frame; undefined for none. */
  readonly exceptUserId?: string;
}

/** A part of an envelope, with its channels. */
export interface Part {
  readonly channels: readonly string[];
  /** Encoded fields of Envelope. Encoded once for all instances, at the first access. */
  readonly fields: Uint8Array;
}

const MEMBERSHIPS = 1;
const DELIVERIES = 2;
const SIGNALS = 3;
const TRACEPARENT = 6;

/** Encodes a delivery as fields of Envelope: its membership changes, then its entries. */
export function deliveryPart(delivery: Delivery): Part {
  return part(delivery.channels, () => encodeDelivery(delivery));
}

/** Encodes a signal as a field of Envelope. */
export function signalPart(signal: Signal): Part {
  return part(signal.channels, () => encodeSignal(signal));
}

function part(channels: readonly string[], encode: () => Uint8Array): Part {
  let fields: Uint8Array | undefined;
  return {
    channels,
    get fields() {
      fields ??= encode();
      return fields;
    },
  };
}

function encodeDelivery(delivery: Delivery): Uint8Array {
  const { conversationId, channels, entries, baseSequence, memberships } = delivery;
  let size = 64;
  for (const { body, originSessionId } of entries)
    size += body.length + originSessionId.length + 40;
  const inner = new WireWriter(size);
  for (const channel of channels) inner.string(1, channel);
  inner.varint(2, BigInt(conversationId)).varint(3, baseSequence + entries.length);
  let sequence = baseSequence;
  for (const { body, acceptedAtMs } of entries) {
    sequence++;
    // Writes the same fields as `tail`, but without a buffer per entry.
    inner
      .header(4, body.length + 2 + varintSize(sequence) + varintSize(acceptedAtMs))
      .raw(body)
      .varint(2, sequence)
      .varint(3, acceptedAtMs);
  }
  for (const { originSessionId } of entries) inner.string(5, originSessionId);
  const encoded = inner.finish();

  const outer = new WireWriter(encoded.length + 16 + memberships.length * 32);
  for (const { userId, groupId, member, sequence } of memberships) {
    const membership = new WireWriter(32).varint(1, BigInt(userId)).varint(2, BigInt(groupId));
    if (member) membership.varint(3, 1).varint(4, sequence);
    outer.bytes(MEMBERSHIPS, membership.finish());
  }
  return outer.bytes(DELIVERIES, encoded).finish();
}

function encodeSignal({ channels, frame, exceptUserId }: Signal): Uint8Array {
  const inner = new WireWriter(frame.length + 64);
  for (const channel of channels) inner.string(1, channel);
  inner.bytes(2, frame);
  if (exceptUserId !== undefined) inner.varint(3, BigInt(exceptUserId));
  return new WireWriter(inner.length + 16).bytes(SIGNALS, inner.finish()).finish();
}

/** Joins parts into an encoded Envelope, with the context of the span that publishes it. */
export function envelopeOf(parts: readonly Part[], span?: Span): Uint8Array {
  if (parts.length === 1 && span === undefined) return parts[0]!.fields;
  const fields = parts.map((part) => part.fields);
  if (span !== undefined)
    fields.push(new WireWriter(64).string(TRACEPARENT, span.traceparent).finish());
  return Buffer.concat(fields);
}

/** Encodes a ServerFrame around an encoded message; `kind` is its field number. */
export function serverFrame(kind: number, message: Uint8Array): Uint8Array {
  return new WireWriter(message.length + 1 + varintSize(message.length) + 8)
    .bytes(kind, message)
    .finish();
}

/**
 * Delivery of consecutive entries, at least one. Its channels are those of the conversation, and of
 * the users who joined or left.
 */
export function deliveryOf(
  { conversationId, channels }: Pick<Delivery, "conversationId" | "channels">,
  entries: readonly LogEntry[],
): Delivery {
  const memberships = entries.flatMap(({ sequence, memberships }) =>
    memberships.map((change) => ({ ...change, sequence })),
  );
  const users = new Set(memberships.map(({ userId }) => userChannel(userId)));
  return {
    conversationId,
    channels: users.size === 0 ? channels : [...channels, ...users],
    baseSequence: entries[0]!.sequence - 1,
    entries: entries.map(({ body, acceptedAtMs }) => ({ body, acceptedAtMs, originSessionId: "" })),
    memberships,
  };
}
