import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import { requirePassword } from "../credentials/password-check.ts";
import type { Account } from "../database.ts";
import type { AuthDependencies } from "../dependencies.ts";

const WRONG = "the user name or the password is wrong";

/** Logs devices in by user name and password. */
export function createLogin(d: AuthDependencies): Pick<ServiceImpl<typeof AuthService>, "login"> {
  /** Hashes the password anew when the parameters changed since. The login does not depend on it. */
  async function rehash({ userId, passwordHash }: Account, password: string): Promise<void> {
    if (!passwordHash || !d.passwords.needsRehash(passwordHash)) return;
    try {
      const data = { passwordHash: await d.passwords.hash(password) };
      // Not over a password that was changed in between.
      await d.database.account.updateMany({ where: { userId, passwordHash }, data });
    } catch (err) {
      d.log.warn({ event: "password_not_rehashed", userId: String(userId), err });
    }
  }

  return {
    async login(request, context) {
      const [password] = await d.passwords.decrypt(request.password);
      const account = await d.accounts.byName(request.userName);
      const address = context.values.get(peerAddress);
      const { userName } = request;
      await requirePassword(d, { account, userName, password, address, text: WRONG });
      if (!account) throw fail(ErrorReason.CREDENTIALS_INVALID, WRONG);
      const { device } = request;
      const answer = await d.issuer.logIn(account, { device, method: "password", address });
      await rehash(account, password);
      return answer;
    },
  };
}
