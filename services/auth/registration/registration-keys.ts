import { createHash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { type RegisterRequest, RegisterRequestSchema } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { Database, Transaction } from "../database.ts";

/** Retries of Register are deduplicated for this long, ms. */
const KEEP_MS = 86_400_000;

/** The first registration with a client_registration_id. */
export interface Registered {
  readonly userId: string;
  /** Whether the request asks for the same names. The caller compares the password. */
  readonly sameNames: boolean;
}

/** The keys by which retries of Register are recognised. */
export interface RegistrationKeys {
  /** The registration under the key of a request; undefined for none, and for a request without one. */
  find(request: RegisterRequest): Promise<Registered | undefined>;
  /**
   * Takes the key of a request in the transaction that creates the account. Waits for another
   * transaction that has taken it. False when the key belongs to another account.
   */
  take(tx: Transaction, request: RegisterRequest, userId: string): Promise<boolean>;
  deleteExpired(): Promise<void>;
}

export function createRegistrationKeys({
  clock,
  database,
}: {
  clock: Clock;
  database: Database;
}): RegistrationKeys {
  const expired = () => ({ expiresAt: { lte: new Date(clock.now()) } });
  return {
    async find(request) {
      const { clientRegistrationId } = request;
      if (clientRegistrationId === "") return undefined;
      const row = await database.registrationKey.findUnique({ where: { clientRegistrationId } });
      if (row === null || row.expiresAt.getTime() <= clock.now()) return undefined;
      const sameNames = Buffer.compare(row.requestHash, hashOfNames(request)) === 0;
      return { userId: String(row.userId), sameNames };
    },
    async take(tx, request, userId) {
      const { clientRegistrationId } = request;
      if (clientRegistrationId === "") return true;
      await tx.registrationKey.deleteMany({ where: { clientRegistrationId, ...expired() } });
      const row = {
        clientRegistrationId,
        userId: BigInt(userId),
        requestHash: hashOfNames(request),
        expiresAt: new Date(clock.now() + KEEP_MS),
      };
      const { count } = await tx.registrationKey.createMany({ data: [row], skipDuplicates: true });
      return count === 1;
    },
    async deleteExpired() {
      await database.registrationKey.deleteMany({ where: expired() });
    },
  };
}

/** SHA-256 of the names that a request asks for: the names of the account may change later. */
function hashOfNames({ userName, displayName }: RegisterRequest): Uint8Array<ArrayBuffer> {
  const names = create(RegisterRequestSchema, { userName, displayName });
  const encoded = toBinary(RegisterRequestSchema, names);
  return new Uint8Array(createHash("sha256").update(encoded).digest());
}
