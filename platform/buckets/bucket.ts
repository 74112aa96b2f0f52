import { createHash } from "node:crypto";

/** Number of buckets. Each conversation belongs to one: the low ten bits of its id. */
export const BUCKETS = 1_024;

const MASK = BigInt(BUCKETS - 1);

/** The bucket of a conversation. */
export function bucketOf(conversationId: bigint | string): number {
  return Number(BigInt(conversationId) & MASK);
}

/**
 * The bucket of the direct conversation of two users, in any order: the first ten bits of the SHA-256
 * of both ids, the lower one first, each as eight bytes in network order.
 */
export function bucketOfPair(a: bigint | string, b: bigint | string): number {
  const [x, y] = [BigInt(a), BigInt(b)];
  const bytes = Buffer.alloc(16);
  bytes.writeBigInt64BE(x < y ? x : y, 0);
  bytes.writeBigInt64BE(x < y ? y : x, 8);
  return firstTenBits(bytes);
}

/**
 * The bucket of a group that its creator made under a client_group_id: the first ten bits of the
 * SHA-256 of the creator's id, as eight bytes in network order, and the key in UTF-8.
 */
export function bucketOfGroup(creatorId: bigint | string, clientGroupId: string): number {
  const creator = Buffer.alloc(8);
  creator.writeBigInt64BE(BigInt(creatorId));
  return firstTenBits(Buffer.concat([creator, Buffer.from(clientGroupId)]));
}

function firstTenBits(bytes: Buffer): number {
  return createHash("sha256").update(bytes).digest().readUInt16BE() >> 6;
}
