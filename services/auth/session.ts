import type { ServiceImpl } from "@connectrpc/connect";
import type { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import type { AuthDependencies } from "./dependencies.ts";
import { recordLastSeen } from "./logins/last-seen.ts";

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
      await keyring.compare(page.keyIds);
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
      await recordLastSeen(
        d,
        seen.map(({ loginId, seenAtMs }) => ({ loginId, seenAtMs: Number(seenAtMs) })),
      );
      return {};
    },
    async checkUsers({ userIds }) {
      return { userIds: await accounts.existing(userIds) };
    },
  };
}
