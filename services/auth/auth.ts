import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { createAccountDeletion } from "./account-deletion.ts";
import type { AuthDependencies } from "./dependencies.ts";
import { createLogin } from "./login.ts";
import { createPasswordChange } from "./password-change.ts";
import { createPhoneBinding } from "./phone-binding.ts";
import { createPhoneRegistration } from "./phone-registration.ts";
import { createPublicKey } from "./public-key.ts";
import { createQrLogins } from "./qr-login.ts";
import { createRefreshing } from "./refreshing.ts";
import { createRegistration } from "./registration.ts";
import { createSmsLogin } from "./sms-login.ts";

/** Registers, logs in and out, and hands out tokens: one file each. */
export function createAuth(d: AuthDependencies): ServiceImpl<typeof AuthService> {
  return {
    ...createPublicKey(d),
    ...createRegistration(d),
    ...createPhoneRegistration(d),
    ...createLogin(d),
    ...createSmsLogin(d),
    ...createQrLogins(d),
    ...createRefreshing(d),
    ...createPasswordChange(d),
    ...createPhoneBinding(d),
    ...createAccountDeletion(d),
  };
}
