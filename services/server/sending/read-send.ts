import { fromBinary } from "@bufbuild/protobuf";
import { pathToString } from "@bufbuild/protobuf/reflect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { type Content, ContentSchema } from "#gen/lucky/message/v1/content_pb.js";
import { type SendRequest, SendRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { MAX_CLIENT_MESSAGE_ID_BYTES } from "#platform/client-message-id.ts";
import { createMessageValidator } from "#platform/validator.ts";
import { FieldReader, WireError } from "#platform/wire.ts";
import { refusal } from "./outcome.ts";
import { readPlainText } from "./plain-text.ts";
import type { Misread, RawSend, Read } from "./send.ts";
import { wellFormed } from "./well-formed.ts";

/** Encoded content at most, bytes. */
export const MAX_CONTENT_BYTES = 65_536;

/** Fields of a send at most, however deep: fifty parts that say all they can have less than half. */
const MAX_FIELDS = 2_000;

const KEY = SendRequestSchema.field.clientMessageId.number;
const CONTENT = SendRequestSchema.field.content.number;
const kinds = new Map(ContentSchema.fields.map((field) => [field.localName, field.number]));

/** Kinds that only the server writes. */
const OURS: ReadonlySet<Content["kind"]["case"]> = new Set(["tip", "callRecord"] as const);

/** Makes the reader of sends: reads each once, and validates it. It never throws. */
export function sendReader(): (raw: RawSend) => Read {
  const byContract = contractReader();
  return (raw) => readPlainText(raw) ?? byContract(raw);
}

/** Makes the reader for every kind of send: decodes it, and validates it by the contract. */
export function contractReader(): (raw: RawSend) => Read {
  const validator = createMessageValidator();
  const check = wellFormed(SendRequestSchema, MAX_FIELDS);

  return ({ senderId, sessionId, send: bytes }) => {
    let copied: Copied | undefined;
    let request: SendRequest;
    try {
      // What is too much is refused before it is decoded: then it is too late.
      copied = copy(bytes);
      if (copied.contentBytes > MAX_CONTENT_BYTES) {
        return refused(copied, `content: more than ${MAX_CONTENT_BYTES} bytes`);
      }
      check(bytes);
      request = fromBinary(SendRequestSchema, bytes);
    } catch (error) {
      const why = error instanceof WireError ? `: ${error.message}` : "";
      return refused(copied, `the send is no SendRequest${why}`);
    }
    const { clientMessageId, target, content } = request;
    const result = validator.validate(SendRequestSchema, request);
    if (result.kind === "error") {
      const unvalidated = refusal(ErrorReason.INTERNAL, "the send could not be validated");
      return { clientMessageId: keyOf(copied), refusal: unvalidated, fault: result.error };
    }
    if (result.kind === "invalid") {
      const [first] = result.violations;
      const where = first === undefined ? "" : pathToString(first.field);
      return refused(copied, `${where === "" ? "" : `${where}: `}${first?.message}`);
    }
    const kindCase = content?.kind.case;
    if (kindCase === undefined) return refused(copied, "content: is empty");
    if (OURS.has(kindCase)) return refused(copied, "content: only the server writes this");
    const kind = kinds.get(kindCase)!;
    const { fields, keyStart, keyLength } = copied;
    return { senderId, sessionId, target, clientMessageId, kind, fields, keyStart, keyLength };
  };
}

function refused(copied: Copied | undefined, text: string): Misread {
  const clientMessageId = copied === undefined ? "" : keyOf(copied);
  return { clientMessageId, refusal: refusal(ErrorReason.INVALID_ARGUMENT, text) };
}

/** The key for the sender: what is too long for one is not repeated. */
function keyOf({ fields, keyStart, keyLength }: Copied): string {
  if (keyLength > MAX_CLIENT_MESSAGE_ID_BYTES) return "";
  return Buffer.from(fields.subarray(keyStart, keyStart + keyLength)).toString();
}

interface Copied {
  fields: Uint8Array;
  keyStart: number;
  keyLength: number;
  contentBytes: number;
}

/**
 * The fields that an entry takes over. Only those known: what a later version of the contract adds
 * to Entry is not the sender's to write.
 */
function copy(bytes: Uint8Array): Copied {
  const parts: Uint8Array[] = [];
  let keyStart = 0;
  let keyLength = 0;
  let from = 0;
  let to = 0;
  let size = 0;
  let contentBytes = 0;
  let count = 0;
  const reader = new FieldReader(bytes);
  while (reader.next()) {
    const { fieldNumber: number, start, end, tagStart } = reader;
    if (++count > MAX_FIELDS) throw new WireError("too many fields");
    if (number !== KEY && number !== CONTENT) continue;
    if (to !== tagStart) {
      if (to > from) parts.push(bytes.subarray(from, to));
      from = tagStart;
    }
    to = end;
    if (number === KEY) {
      keyStart = size + start - tagStart;
      keyLength = end - start;
    } else contentBytes = end - start;
    size += end - tagStart;
  }
  parts.push(bytes.subarray(from, to));
  const fields = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  return { fields, keyStart, keyLength, contentBytes };
}
