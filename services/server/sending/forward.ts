import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import {
  type Content,
  ContentSchema,
  type MergedSchema,
} from "#gen/lucky/message/v1/content_pb.js";
import { EntrySchema, OriginSchema } from "#gen/lucky/message/v1/entry_pb.js";
import type { ForwardRequest } from "#gen/lucky/message/v1/message_pb.js";
import { fail, invalidField } from "#platform/errors.ts";
import type { Span } from "#platform/tracing/traces.ts";
import { MAX_CONTENT_BYTES } from "#platform/validation/device-content.ts";
import { WireWriter } from "#platform/wire.ts";
import type { Directs } from "../conversations/directs.ts";
import { refusalError } from "../conversations/refusal.ts";
import { FIRST_CHANGE, type KindName, kindNumber } from "../log/kinds.ts";
import type { Logs } from "../log/logs.ts";
import { findStored, KEY_REUSED, type StoredSend, selectOwnDuplicates } from "./duplicates.ts";
import { type Original, readOriginals, tooLarge } from "./originals.ts";
import type { Accepted } from "./outcome.ts";
import type { Forwarded, Send } from "./send.ts";
import type { Sends } from "./sends.ts";

export interface ForwardDependencies {
  readonly logs: Logs;
  readonly directs: Directs;
  readonly sends: Sends;
}

/** Maximum messages of a call that are forwarded one by one. */
const MAX_SINGLE = 20;

const { clientMessageId: KEY, origin: ORIGIN, content: CONTENT } = EntrySchema.field;

/** Kinds that a merged message can contain. */
const MERGEABLE: ReadonlySet<KindName> = new Set<ItemKind["case"] & string>([
  "text",
  "image",
  "video",
  "audio",
  "file",
  "location",
  "composite",
  "contactCard",
  "custom",
]);

type Item = NonNullable<MessageInitShape<typeof MergedSchema>["items"]>[number];
type ItemKind = NonNullable<Item["kind"]>;

/** A message to write: a copy of one original, or several originals merged into one message. */
interface Copy {
  readonly clientMessageId: string;
  readonly sequences: readonly bigint[];
  readonly originals: readonly (Original | undefined)[];
  readonly merged: boolean;
}

/**
 * Copies messages of one conversation into another, in the order of the request. Returns the positions of
 * the copies. A retry returns the same positions, even when the originals were changed or deleted since.
 * Throws the errors of MessageService.Forward, and UNAVAILABLE.
 */
export async function forward(
  { logs, directs, sends }: ForwardDependencies,
  {
    callerId,
    request,
    span,
  }: { callerId: string; request: ForwardRequest; span: Span | undefined },
): Promise<Accepted[]> {
  mustHaveValidCounts(request);
  const { fromConversationId: conversationId, target } = request;
  const sequences = request.merge ? request.sequences.toSorted(ascending) : request.sequences;
  const stored = await findCopies({ logs, directs }, { callerId, request });
  const isMerged = request.merge && stored.size > 0;
  const originals = isMerged
    ? []
    : await readOriginals(logs, { callerId, conversationId, sequences });
  const copies = copiesOf(request, sequences, originals);
  for (const copy of copies) {
    const existing = stored.get(copy.clientMessageId);
    if (existing !== undefined && !isSameCopy(existing, copy))
      throw refusalError(KEY_REUSED.refusal);
  }
  const missing = copies.filter(({ clientMessageId }) => !stored.has(clientMessageId));
  mustBeForwardable(missing);

  const positions: Accepted[] = [];
  for (const copy of copies) {
    const existing = stored.get(copy.clientMessageId);
    if (existing !== undefined) {
      positions.push(existing.accepted);
      continue;
    }
    const send = sendOf(copy, { senderId: callerId, target });
    const outcome = await sends.appendOne(send, span);
    if (outcome.kind === "failed") throw outcome.error;
    if (outcome.kind === "refused") throw refusalError(outcome.refusal);
    positions.push(outcome);
  }
  return positions;
}

function ascending(a: bigint, b: bigint): number {
  return a < b ? -1 : 1;
}

/** Throws INVALID_ARGUMENT for counts that the constraints in the proto cannot express. */
function mustHaveValidCounts({ merge, sequences, clientMessageIds }: ForwardRequest): void {
  if (!merge && sequences.length > MAX_SINGLE)
    throw invalidField("sequences", `more than ${MAX_SINGLE} that are not merged`);
  const copies = merge ? 1 : sequences.length;
  if (clientMessageIds.length !== copies)
    throw invalidField("client_message_ids", `${copies} expected, one for each written message`);
}

function copiesOf(
  { merge, clientMessageIds }: ForwardRequest,
  sequences: readonly bigint[],
  originals: readonly (Original | undefined)[],
): Copy[] {
  if (merge) {
    return [{ clientMessageId: clientMessageIds[0]!, sequences, originals, merged: true }];
  }
  return clientMessageIds.map((clientMessageId, at) => ({
    clientMessageId,
    sequences: [sequences[at]!],
    originals: [originals[at]],
    merged: false,
  }));
}

/** The copies that the target already has, by client_message_id. Creates no conversation. */
async function findCopies(
  { logs, directs }: Pick<ForwardDependencies, "logs" | "directs">,
  { callerId, request }: { callerId: string; request: ForwardRequest },
): Promise<ReadonlyMap<string, StoredSend>> {
  const { target, clientMessageIds } = request;
  const conversationId =
    target.case === "userId"
      ? await directs.find({ senderId: callerId, peerId: target.value })
      : target.value;
  if (conversationId === undefined) return new Map();
  const keys = clientMessageIds.map((clientMessageId) => ({
    conversationId,
    send: { senderId: callerId, clientMessageId },
  }));
  const found = await logs.onConversation(conversationId, (db) =>
    findStored(db, keys, selectOwnDuplicates),
  );
  return new Map([...found].map(([{ send }, stored]) => [send.clientMessageId, stored]));
}

/** Whether a stored message is this copy, even when the originals were changed since. */
function isSameCopy(stored: StoredSend, copy: Copy): boolean {
  const forwarded = forwardedOf(copy);
  return forwarded !== undefined && stored.isRepeatedBy({ fields: new Uint8Array(0), forwarded });
}

/** Description of a copy, by which a retry is recognised; undefined when the original does not exist. */
function forwardedOf({ merged, originals }: Copy): Forwarded | undefined {
  if (merged) return { kind: "merged" };
  const [original] = originals;
  if (original === undefined) return undefined;
  // A recall removes the origin of a message that was a forward itself: message_id is unknown then.
  const { state, origin } = original;
  return { kind: "original", messageId: state === "recalled" ? undefined : origin.messageId };
}

/** Throws MESSAGE_NOT_FOUND, MESSAGE_RECALLED, FORWARD_DENIED, FORWARD_TOO_LARGE. */
function mustBeForwardable(copies: readonly Copy[]): void {
  let bytes = 0;
  for (const { sequences, originals, merged } of copies)
    for (const [at, original] of originals.entries()) {
      mustBeCopyable(original, { sequence: sequences[at]!, merged });
      bytes += original!.content.length;
    }
  if (bytes > MAX_CONTENT_BYTES) throw tooLarge();
}

function mustBeCopyable(
  original: Original | undefined,
  { sequence, merged }: { sequence: bigint; merged: boolean },
): asserts original is Original {
  const name = original?.entry.content?.kind.case;
  if (
    original === undefined ||
    original.state === "unseen" ||
    (name !== undefined && kindNumber(name) >= FIRST_CHANGE)
  )
    throw fail(ErrorReason.MESSAGE_NOT_FOUND, `no message with the sequence ${sequence}`);
  if (original.state === "recalled")
    throw fail(ErrorReason.MESSAGE_RECALLED, `the message ${sequence} was recalled`);
  if (name !== undefined && (MERGEABLE.has(name) || (name === "merged" && !merged))) return;
  throw fail(
    ErrorReason.FORWARD_DENIED,
    `the message ${sequence} is of a kind that cannot be forwarded`,
  );
}

/** The send that writes a copy. Its originals must have passed `mustBeForwardable`. */
function sendOf(copy: Copy, { senderId, target }: Pick<Send, "senderId" | "target">): Send {
  const { clientMessageId, merged } = copy;
  const originals = copy.originals as readonly Original[];
  const [{ origin, content, entry }] = originals as [Original];
  const fields = new WireWriter(128 + content.length).string(KEY.number, clientMessageId);
  if (merged) {
    const items = originals.map(itemOf);
    const value = create(ContentSchema, { kind: { case: "merged", value: { items } } });
    fields.bytes(CONTENT.number, toBinary(ContentSchema, value));
  } else {
    fields.bytes(ORIGIN.number, toBinary(OriginSchema, origin)).bytes(CONTENT.number, content);
  }
  return {
    senderId,
    sessionId: "",
    target,
    clientMessageId,
    kind: kindNumber(merged ? "merged" : entry.content!.kind.case!),
    fields: fields.finish(),
    // The key starts after its tag and its length, one byte each.
    keyStart: 2,
    keyLength: clientMessageId.length,
    replyTo: undefined,
    mentions: undefined,
    forwarded: forwardedOf(copy),
  };
}

function itemOf({ entry, origin: { senderId, acceptedAtMs } }: Original): Item {
  const { kind, fallbackText } = entry.content as Content;
  return { senderId, acceptedAtMs, kind: kind as ItemKind, fallbackText };
}
