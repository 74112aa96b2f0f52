import { fromBinary } from "@bufbuild/protobuf";
import { pathToString } from "@bufbuild/protobuf/reflect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { type SendRequest, SendRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { MAX_CLIENT_MESSAGE_ID_BYTES } from "#platform/validation/client-message-id.ts";
import { MAX_CONTENT_BYTES } from "#platform/validation/device-content.ts";
import { MAX_FIELDS } from "#platform/validation/field-count.ts";
import { createMessageValidator } from "#platform/validation/validator.ts";
import { wellFormed } from "#platform/validation/well-formed.ts";
import { FieldReader, WireError } from "#platform/wire.ts";
import type { Mentions } from "../conversations/mentions.ts";
import { invalidField, type Refusal, refusal } from "../conversations/refusal.ts";
import { isFromDevices, kindNumber } from "../log/kinds.ts";
import { readPlainText } from "./plain-text.ts";
import type { RawSend, ReadResult, RejectedSend } from "./send.ts";

const KEY = SendRequestSchema.field.clientMessageId.number;
const CONTENT = SendRequestSchema.field.content.number;
/** The last one of the fields that follow the content. */
const SILENT = SendRequestSchema.field.silent.number;
/**
 * Maximum bytes of the fields after the content. The longest valid mentions and pairs, with characters of four
 * bytes, have less. Without it a send could hide bytes in pairs that later ones replace, and in fields that the
 * contract does not know.
 */
const MAX_DETAIL_BYTES = 24_576;
/**
 * The numbers of Content up to this one are for kinds. Decoders that know two kinds of a content keep the
 * last one, so a kind of a later version beside a known one would be shown unchecked after an update.
 */
const LAST_KIND = 99;

/**
 * Creates the reader of sends: it decodes and validates each send, unless its call did. It never
 * throws.
 */
export function sendReader(): (raw: RawSend) => ReadResult {
  const byContract = contractReader();
  return (raw) => readPlainText(raw) ?? byContract(raw);
}

/** Creates the reader for all kinds of sends, with all checks of the contract. */
export function contractReader(): (raw: RawSend) => ReadResult {
  const checkConstraints = constraintCheck();
  const check = wellFormed(SendRequestSchema, MAX_FIELDS);

  return ({ senderId, sessionId, send: bytes, request: decoded }) => {
    let entryFields: EntryFields | undefined;
    let request: SendRequest;
    try {
      // Check size limits before decoding, because decoding already allocates the memory.
      entryFields = entryFieldsOf(bytes);
      if (entryFields.contentBytes > MAX_CONTENT_BYTES) {
        return invalid(entryFields, "content", `more than ${MAX_CONTENT_BYTES} bytes`);
      }
      if (entryFields.detailBytes > MAX_DETAIL_BYTES) {
        return invalid(
          entryFields,
          "extra",
          `more than ${MAX_DETAIL_BYTES} bytes with the mentions`,
        );
      }
      check(bytes);
      request = decoded ?? fromBinary(SendRequestSchema, bytes);
    } catch (error) {
      const why = error instanceof WireError ? `: ${error.message}` : "";
      const text = `the send is not a valid SendRequest${why}`;
      return refused(entryFields, refusal(ErrorReason.INVALID_ARGUMENT, text));
    }
    const rejected = decoded === undefined ? checkConstraints(request, entryFields) : undefined;
    if (rejected !== undefined) return rejected;
    const { clientMessageId, target, content } = request;
    const name = content?.kind.case;
    if (name === undefined) return invalid(entryFields, "content", "is empty");
    const later = content?.$unknown?.find(({ no }) => no <= LAST_KIND);
    if (later !== undefined) {
      const why = `field ${later.no} is a kind that this server does not know`;
      return invalid(entryFields, "content", why);
    }
    if (!isFromDevices(name)) return invalid(entryFields, "content", "only the server writes this");
    const kind = kindNumber(name);
    const { fields, keyStart, keyLength } = entryFields;
    return {
      senderId,
      sessionId,
      target,
      clientMessageId,
      kind,
      fields,
      keyStart,
      keyLength,
      replyTo: request.replyToSequence || undefined,
      mentions: mentionsOf(request),
      forwarded: undefined,
    };
  };
}

function mentionsOf({ mentionedUserIds, mentionAll }: SendRequest): Mentions | undefined {
  if (mentionedUserIds.length === 0 && !mentionAll) return undefined;
  return { userIds: mentionedUserIds, all: mentionAll };
}

/** Creates the check of the contract's constraints; it returns undefined for a valid request. */
function constraintCheck(): (
  request: SendRequest,
  entryFields: EntryFields,
) => RejectedSend | undefined {
  const validator = createMessageValidator();
  return (request, entryFields) => {
    const result = validator.validate(SendRequestSchema, request);
    if (result.kind === "valid") return undefined;
    if (result.kind === "error") {
      const unvalidated = refusal(ErrorReason.INTERNAL, "the send could not be validated");
      return {
        clientMessageId: clientMessageIdOf(entryFields),
        refusal: unvalidated,
        fault: result.error,
      };
    }
    const [first] = result.violations;
    const where = first === undefined ? "" : pathToString(first.field);
    return invalid(entryFields, where, `${first?.message}`);
  };
}

function invalid(entryFields: EntryFields, field: string, why: string): RejectedSend {
  return refused(entryFields, invalidField(field, why));
}

function refused(entryFields: EntryFields | undefined, refusal: Refusal): RejectedSend {
  const clientMessageId = entryFields === undefined ? "" : clientMessageIdOf(entryFields);
  return { clientMessageId, refusal };
}

/** The client_message_id for the refusal; empty when it is longer than the contract allows. */
function clientMessageIdOf({ fields, keyStart, keyLength }: EntryFields): string {
  if (keyLength > MAX_CLIENT_MESSAGE_ID_BYTES) return "";
  return Buffer.from(fields.subarray(keyStart, keyStart + keyLength)).toString();
}

interface EntryFields {
  fields: Uint8Array;
  keyStart: number;
  keyLength: number;
  contentBytes: number;
  /** Bytes of the fields after the content. */
  detailBytes: number;
}

/**
 * Selects the fields that the entry takes over from the send. Other fields are dropped: senders
 * must not write fields that a later version of the contract adds to Entry.
 */
function entryFieldsOf(bytes: Uint8Array): EntryFields {
  const parts: Uint8Array[] = [];
  let keyStart = 0;
  let keyLength = 0;
  let from = 0;
  let to = 0;
  let size = 0;
  let contentBytes = 0;
  let detailBytes = 0;
  let count = 0;
  const reader = new FieldReader(bytes);
  while (reader.next()) {
    const { fieldNumber: number, start, end, tagStart } = reader;
    if (++count > MAX_FIELDS) throw new WireError("too many fields");
    if (number !== KEY && (number < CONTENT || number > SILENT)) continue;
    if (to !== tagStart) {
      if (to > from) parts.push(bytes.subarray(from, to));
      from = tagStart;
    }
    to = end;
    if (number === KEY) {
      keyStart = size + start - tagStart;
      keyLength = end - start;
    } else if (number === CONTENT) contentBytes = end - start;
    else detailBytes += end - tagStart;
    size += end - tagStart;
  }
  parts.push(bytes.subarray(from, to));
  const fields = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  return { fields, keyStart, keyLength, contentBytes, detailBytes };
}
