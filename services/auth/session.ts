import type { ServiceImpl } from "@connectrpc/connect";
import { AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { AccountChanges } from "./accounts/account-changes.ts";
import type { Accounts } from "./accounts/accounts.ts";
import type { AuditedChanges } from "./admin/audited-changes.ts";
import type { Database } from "./database.ts";
import type { Keyring } from "./keys/keyring.ts";
import type { DevicePolicy } from "./logins/device-policy.ts";
import { recordLastSeen } from "./logins/last-seen.ts";
import type { RevocationPages } from "./logins/revocation-pages.ts";

/** Operators' actions in other services, which those services audit before they happen. */
const FOREIGN_ACTIONS: ReadonlySet<AuditAction> = new Set([
  AuditAction.BATCHES_REPLAYED,
  AuditAction.MESSAGE_TRACED,
]);

/**
 * SessionService: tells the other services the ended logins, the states of users and the device
 * policy, and records last-seen times and their entries of the audit log.
 */
export function createSession({
  accountChanges,
  accounts,
  changes,
  clock,
  database,
  devicePolicy,
  keyring,
  revocationPages,
}: {
  accountChanges: AccountChanges;
  accounts: Pick<Accounts, "existing">;
  changes: Pick<AuditedChanges, "record">;
  clock: Clock;
  database: Database;
  devicePolicy: Pick<DevicePolicy, "rules">;
  keyring: Pick<Keyring, "reloadIfStale" | "keys">;
  revocationPages: RevocationPages;
}): ServiceImpl<typeof SessionService> {
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
      await recordLastSeen(
        { clock, database },
        seen.map(({ loginId, seenAtMs }) => ({ loginId, seenAtMs: Number(seenAtMs) })),
      );
      return {};
    },
    async checkUsers({ userIds }) {
      const existing = await accounts.existing(userIds);
      const disabled = existing.filter((account) => account.disabled);
      return {
        userIds: existing.map(({ userId }) => userId),
        disabledUserIds: disabled.map(({ userId }) => userId),
      };
    },
    async recordAudit({ actorId, action, detail, reason, peerAddress }) {
      if (!FOREIGN_ACTIONS.has(action))
        throw fail(ErrorReason.PERMISSION_DENIED, "auth records this action itself");
      await changes.record({ actorId, action, reason, address: peerAddress }, detail);
      return {};
    },
    async listAccountChanges({ cursor }) {
      const page = await accountChanges.since(cursor === undefined ? undefined : String(cursor));
      return { ...page, nextCursor: BigInt(page.nextCursor) };
    },
  };
}
