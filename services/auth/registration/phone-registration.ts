import type { ServiceImpl } from "@connectrpc/connect";
import { type AuthService, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { peerAddress } from "#platform/rpc/peer.ts";
import { normalizePhone } from "../accounts/phone.ts";
import { ownerOf, phoneColumns, phoneTaken } from "../accounts/phone-owner.ts";
import { createPasswordPolicy } from "../credentials/password-policy.ts";
import type { AuthDependencies } from "../dependencies.ts";
import { requirePrintableDevice } from "../logins/device-texts.ts";
import { displayNameOf } from "./registration.ts";

/** Makes accounts for proven phone numbers. */
export function createPhoneRegistration(
  d: AuthDependencies,
): Pick<ServiceImpl<typeof AuthService>, "registerByPhone"> {
  const { requireStrong } = createPasswordPolicy(d.config);
  return {
    async registerByPhone(request, context) {
      const { code, device } = request;
      const phone = normalizePhone(request.phone);
      const userId = BigInt(d.ids.next());
      // Digits alone: no other made name looks like it.
      const userName = request.userName || `user-${userId}`;
      const displayName = displayNameOf(request.displayName, userName);
      requirePrintableDevice(device);
      // What can be wrong without the code is said before the code is touched.
      const password = request.password && (await d.passwords.decrypt(request.password))[0];
      if (password !== undefined) requireStrong(password, userName, displayName, phone);

      const given = { phone, purpose: SmsPurpose.REGISTER, code };
      const account = await d.smsCodes.redeem([given], async (tx) => {
        // Ends with the code used up: there is nothing more to try it for.
        if (await ownerOf(tx, d.columns, phone)) return undefined;
        const passwordHash = password === undefined ? null : await d.passwords.hash(password);
        const createdAt = new Date(d.clock.now());
        const sealed = phoneColumns(d.columns, phone, userId);
        const made = { userId, userName, displayName, passwordHash, createdAt, ...sealed };
        return d.accounts.create(made, tx);
      });
      if (!account) throw phoneTaken();
      const address = context.values.get(peerAddress);
      return d.issuer.logIn(account, { device, method: "sms", address });
    },
  };
}
