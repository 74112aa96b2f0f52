import assert from "node:assert/strict";
import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import type { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Entry } from "#gen/lucky/message/v1/entry_pb.js";
import {
  type ForwardRequestSchema,
  type SendRequestSchema,
  type SendResult,
  SendResultSchema,
} from "#gen/lucky/message/v1/message_pb.js";
import { detailOf, reasonOf } from "#platform/errors.ts";
import { type RunningServer, request } from "../server.fixture.ts";

export type SendInit = MessageInitShape<typeof SendRequestSchema>;
export type ForwardInit = MessageInitShape<typeof ForwardRequestSchema>;

/** Appends a batch of sends of one user. Returns one result each, in their order. */
export async function appendAll(
  server: RunningServer,
  senderId: string,
  ...inits: SendInit[]
): Promise<SendResult[]> {
  const uplinks = inits.map((init) => ({ senderId, send: request(init) }));
  const { results } = await server.ingress.appendBatch({ uplinks });
  return results.map((bytes) => fromBinary(SendResultSchema, bytes));
}

/** The log of a conversation, as a user sees it. */
export async function entriesOf(
  server: RunningServer,
  userId: string,
  conversationId: string,
): Promise<Entry[]> {
  const position = { case: "afterSequence", value: 0n } as const;
  return (await server.messages(userId).listEntries({ conversationId, position })).entries;
}

/** The reason and the field of a failed call; fails the test for one that succeeds. */
export async function failureOf(
  call: Promise<unknown>,
): Promise<{ reason: ErrorReason; field: string }> {
  try {
    await call;
  } catch (error) {
    return { reason: reasonOf(error), field: detailOf(error)?.field ?? "" };
  }
  return assert.fail("the call succeeded");
}
