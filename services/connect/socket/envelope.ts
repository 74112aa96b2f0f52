import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import {
  EnvelopeSchema,
  type LoginRevocation,
  LoginRevocationSchema,
  type Membership,
  MembershipSchema,
  type SessionKick,
  SessionKickSchema,
  type Signal,
  SignalSchema,
} from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import { BYTES, FieldReader, readVarint, readVarint64, scan, VARINT } from "#platform/wire.ts";

/** Field numbers of lucky.internal.envelope.v1.Envelope. */
const MEMBERSHIPS_FIELD = 1;
const DELIVERIES_FIELD = 2;
const SIGNALS_FIELD = 3;
const KICKS_FIELD = 4;
const REVOCATIONS_FIELD = 5;
const TRACEPARENT_FIELD = 6;

/** Field numbers of lucky.internal.envelope.v1.Delivery. */
const CHANNELS_FIELD = 1;
const CONVERSATION_ID_FIELD = 2;
const LAST_SEQUENCE_FIELD = 3;
const ENTRIES_FIELD = 4;
const ORIGINS_FIELD = 5;

/** Entries of one conversation for some channels. The entries stay encoded. */
export interface Delivery {
  readonly channels: readonly string[];
  readonly conversationId: string;
  /** Sequence of the last entry. The entries are contiguous. */
  readonly last: number;
  readonly entries: readonly Uint8Array[];
  /** Per entry: the id of the session that sent it; empty for none. */
  readonly origins: readonly string[];
}

/** A decoded Envelope whose deliveries keep their entries encoded. */
export interface DecodedEnvelope {
  readonly memberships: readonly Membership[];
  readonly deliveries: readonly Delivery[];
  readonly signals: readonly Signal[];
  readonly kicks: readonly SessionKick[];
  readonly revocations: readonly LoginRevocation[];
  /** Context of the span that published it; empty when it is not traced. */
  readonly traceparent: string;
}

/**
 * Decodes an Envelope. Deliveries are the hot path and are read from the wire format directly: the
 * generated decoder would cost as much as all other work for them. Throws when it is malformed.
 */
export function readEnvelope(body: Uint8Array): DecodedEnvelope {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const memberships: Membership[] = [];
  const deliveries: Delivery[] = [];
  const signals: Signal[] = [];
  const kicks: SessionKick[] = [];
  const revocations: LoginRevocation[] = [];
  let traceparent = "";
  for (const [number, type, start, end] of scan(bytes)) {
    if (type !== BYTES) continue;
    if (number === DELIVERIES_FIELD) {
      deliveries.push(readDelivery(bytes, start, end));
      continue;
    }
    const part = bytes.subarray(start, end);
    if (number === MEMBERSHIPS_FIELD) memberships.push(fromBinary(MembershipSchema, part));
    else if (number === SIGNALS_FIELD) signals.push(fromBinary(SignalSchema, part));
    else if (number === KICKS_FIELD) kicks.push(fromBinary(SessionKickSchema, part));
    else if (number === REVOCATIONS_FIELD) {
      revocations.push(fromBinary(LoginRevocationSchema, part));
    } else if (number === TRACEPARENT_FIELD) traceparent = bytes.toString("latin1", start, end);
  }
  return { memberships, deliveries, signals, kicks, revocations, traceparent };
}

function readDelivery(bytes: Buffer, from: number, to: number): Delivery {
  const channels: string[] = [];
  const entries: Uint8Array[] = [];
  const origins: string[] = [];
  let conversationId = "0";
  let last = 0;
  const field = new FieldReader(bytes, from, to);
  while (field.next()) {
    const { fieldNumber, wireType, start, end } = field;
    if (wireType === BYTES) {
      if (fieldNumber === ENTRIES_FIELD) entries.push(bytes.subarray(start, end));
      else if (fieldNumber === ORIGINS_FIELD) {
        origins.push(bytes.toString("latin1", start, end));
      } else if (fieldNumber === CHANNELS_FIELD) {
        channels.push(bytes.toString("latin1", start, end));
      }
    } else if (wireType === VARINT) {
      if (fieldNumber === CONVERSATION_ID_FIELD)
        conversationId = readVarint64(bytes, start).toString();
      else if (fieldNumber === LAST_SEQUENCE_FIELD) last = readVarint(bytes, start);
    }
  }
  while (origins.length < entries.length) origins.push("");
  origins.length = entries.length;
  return { channels, conversationId, last, entries, origins };
}

/** An encoded Envelope that closes sessions on another instance. */
export function kicksEnvelope(sessionIds: readonly string[], code: CloseCode): Uint8Array {
  const kicks = sessionIds.map((sessionId) => ({ sessionId, code }));
  return toBinary(EnvelopeSchema, create(EnvelopeSchema, { kicks }));
}
