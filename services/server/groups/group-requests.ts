import { createHash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CreateGroupRequestSchema, type Group } from "#gen/lucky/group/v1/group_pb.js";
import { fail } from "#platform/errors.ts";
import type { Database } from "../log/database.ts";
import { type GroupRow, groupOf, selectGroupByKey } from "./group-rows.ts";

/** The content of a CreateGroup call, which its key identifies. */
export interface GroupRequest {
  readonly ownerId: string;
  readonly name: string;
  /** The members: the owner first, then the others without duplicates. */
  readonly members: readonly string[];
  /** Deduplicates retries; empty: the request is not deduplicated. */
  readonly clientGroupId: string;
}

/**
 * SHA-256 of what a request asks for, whatever the order of its users. The name of the group and its
 * members may change later, so a retry is compared with the first request and not with the group. Fields
 * that a request does not set are not encoded, so that later fields do not change the hash.
 */
export function requestHash({ name, members }: GroupRequest): Buffer {
  const canonical = create(CreateGroupRequestSchema, { name, userIds: [...members].sort() });
  return createHash("sha256").update(toBinary(CreateGroupRequestSchema, canonical)).digest();
}

/**
 * Reads the group that the user created under the client_group_id of a request; undefined for none.
 * Throws KEY_REUSED when the user asked for something else then.
 */
export async function readGroupByKey(
  db: Database,
  request: GroupRequest,
): Promise<Group | undefined> {
  const { ownerId, clientGroupId } = request;
  if (clientGroupId === "") return undefined;
  const [row] = await db.run<GroupRow & { request_hash: Buffer | null }>(selectGroupByKey, [
    ownerId,
    clientGroupId,
  ]);
  if (row === undefined) return undefined;
  // Groups of earlier versions have no hash.
  const { request_hash: hash } = row;
  if (hash === null || requestHash(request).equals(hash)) return groupOf(row);
  throw fail(
    ErrorReason.KEY_REUSED,
    "the client_group_id belongs to a group that was created with another name or other users",
  );
}
