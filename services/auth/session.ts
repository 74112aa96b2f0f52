import type { ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { fail } from "#platform/errors.ts";
import type { AuthDependencies } from "./dependencies.ts";
import { recordLastSeen } from "./logins/last-seen.ts";

const MAX_USERS = 1_000;
const MAX_SEEN = 1_000;

/** Tells the other services which logins ended and which users exist. */
export function createSession(
  d: Pick<
    AuthDependencies,
    "accounts" | "clock" | "database" | "devicePolicy" | "keyring" | "revocationPages"
  >,
): ServiceImpl<typeof SessionService> {
  const { accounts, devicePolicy, keyring, revocationPages } = d;
  return {
    async getDevicePolicy() {
      return { rules: [...(await devicePolicy.rules())] };
    },
    async listRevocations({ cursor, pageToken }) {
      const page = await revocationPages.since(Number(cursor), pageToken);
      await keyring.reloadIfStale(page.keyIds);
      return {
        revocations: page.revocations.map(({ loginId, accessExpiresAtMs }) => ({
          loginId,
          expiresAtMs: BigInt(accessExpiresAtMs),
        })),
        nextCursor: BigInt(page.nextCursorMs),
        nextPageToken: page.nextPageToken,
        accessKeyIds: keyring.keys.access.map(({ keyId }) => keyId),
      };
    },
    async recordLastSeen({ seen }) {
      if (seen.length > MAX_SEEN)
        throw fail(ErrorReason.INVALID_ARGUMENT, `seen: at most ${MAX_SEEN}`);
      await recordLastSeen(
        d,
        seen.map(({ loginId, seenAtMs }) => ({ loginId, seenAtMs: Number(seenAtMs) })),
      );
      return {};
    },
    async checkUsers({ userIds }) {
      if (userIds.length > MAX_USERS)
        throw fail(ErrorReason.INVALID_ARGUMENT, `user_ids: at most ${MAX_USERS}`);
      return { userIds: await accounts.existing(userIds) };
    },
  };
}
