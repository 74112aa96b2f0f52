import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import type { Accounts } from "../accounts/accounts.ts";
import type { BruteForceGuard } from "../credentials/brute-force-guard.ts";
import { requirePassword } from "../credentials/password-check.ts";
import type { Passwords } from "../credentials/passwords.ts";
import type { Account, Database } from "../database.ts";
import type { Issuer } from "../logins/issuer.ts";

const WRONG_CREDENTIALS = "the user name or the password is wrong";

/** Logs devices in with a user name and a password. */
export function createLogin({
  accounts,
  database,
  guard,
  issuer,
  log,
  passwords,
}: {
  accounts: Pick<Accounts, "byName">;
  database: Database;
  guard: BruteForceGuard;
  issuer: Pick<Issuer, "logIn">;
  log: Log;
  passwords: Passwords;
}): Pick<ServiceImpl<typeof AuthService>, "login"> {
  /** Rehashes the password when the Argon2id parameters have changed. A failure is only logged. */
  async function rehash({ userId, passwordHash }: Account, password: string): Promise<void> {
    if (!passwordHash || !passwords.needsRehash(passwordHash)) return;
    try {
      const data = { passwordHash: await passwords.hash(password) };
      // The old hash in WHERE guards against a race with a password change.
      await database.account.updateMany({ where: { userId, passwordHash }, data });
    } catch (err) {
      log.warn({ event: "password_not_rehashed", userId: String(userId), err });
    }
  }

  return {
    async login(request, context) {
      const [password] = await passwords.decrypt(request.password);
      const account = await accounts.byName(request.userName);
      const address = context.values.get(peerAddress);
      const { userName } = request;
      await requirePassword(
        { guard, passwords },
        { account, userName, password, address, errorText: WRONG_CREDENTIALS },
      );
      if (!account) throw fail(ErrorReason.CREDENTIALS_INVALID, WRONG_CREDENTIALS);
      const { device } = request;
      const answer = await issuer.logIn(account, { device, method: "password", address });
      await rehash(account, password);
      return answer;
    },
  };
}
