import type { ServiceImpl } from "@connectrpc/connect";
import { type AuthService, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Clock } from "#platform/clock.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import type { Accounts } from "../accounts/accounts.ts";
import { normalizePhone } from "../accounts/phone.ts";
import { ownerOf, phoneColumns, phoneTaken } from "../accounts/phone-owner.ts";
import type { PasswordPolicy } from "../credentials/password-policy.ts";
import type { Passwords } from "../credentials/passwords.ts";
import type { SmsCodes } from "../credentials/sms-codes.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import type { UserIds } from "../keys/user-ids.ts";
import type { Issuer } from "../logins/issuer.ts";
import { displayNameOf } from "./registration.ts";

/** Registers accounts with a phone number that an SMS code proves. */
export function createPhoneRegistration({
  accounts,
  clock,
  columns,
  issuer,
  passwordPolicy,
  passwords,
  smsCodes,
  userIds,
}: {
  accounts: Pick<Accounts, "create">;
  clock: Clock;
  columns: ColumnEncryption;
  issuer: Pick<Issuer, "logIn">;
  passwordPolicy: PasswordPolicy;
  passwords: Pick<Passwords, "decrypt" | "hash">;
  smsCodes: Pick<SmsCodes, "redeem">;
  userIds: UserIds;
}): Pick<ServiceImpl<typeof AuthService>, "registerByPhone"> {
  return {
    async registerByPhone(request, context) {
      const { code, device } = request;
      const phone = normalizePhone(request.phone);
      const userId = await userIds.next();
      // The id has digits only, so generated names are not confusable with each other.
      const userName = request.userName || `user-${userId}`;
      const displayName = displayNameOf(request.displayName, userName);
      // First run the checks that need no code: a refusal must not use up a guess.
      const password = request.password && (await passwords.decrypt(request.password))[0];
      if (password !== undefined)
        await passwordPolicy.requireStrong(password, userName, displayName, phone);

      const given = { phone, purpose: SmsPurpose.REGISTER, code };
      const account = await smsCodes.redeem([given], async (tx) => {
        // Return instead of throwing: the commit consumes the code, which has no other use for this
        // number.
        if (await ownerOf(tx, columns, phone)) return undefined;
        const passwordHash = password === undefined ? null : await passwords.hash(password);
        const createdAt = new Date(clock.now());
        const sealed = phoneColumns(columns, phone, userId);
        const created = { userId, userName, displayName, passwordHash, createdAt, ...sealed };
        return accounts.create(created, tx);
      });
      if (!account) throw phoneTaken();
      const address = context.values.get(peerAddress);
      return issuer.logIn(account, { device, method: "sms", address });
    },
  };
}
