import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import type { AuthDependencies } from "./dependencies.ts";
import { createAccountDeletion } from "./own-account/account-deletion.ts";
import { createPasswordChange } from "./own-account/password-change.ts";
import { createPhoneBinding } from "./own-account/phone-binding.ts";
import { createQrLogins } from "./qr-login/qr-login.ts";
import { createPhoneRegistration } from "./registration/phone-registration.ts";
import { createRegistration } from "./registration/registration.ts";
import { createLogin } from "./sign-in/login.ts";
import { createPublicKeys } from "./sign-in/public-keys.ts";
import { createRefresh } from "./sign-in/refresh.ts";
import { createSmsLogin } from "./sign-in/sms-login.ts";

/** Registers, logs in and out, and hands out tokens: one file each. */
export function createAuth(d: AuthDependencies): ServiceImpl<typeof AuthService> {
  return {
    ...createPublicKeys(d),
    ...createRegistration(d),
    ...createPhoneRegistration(d),
    ...createLogin(d),
    ...createSmsLogin(d),
    ...createQrLogins(d),
    ...createRefresh(d),
    ...createPasswordChange(d),
    ...createPhoneBinding(d),
    ...createAccountDeletion(d),
  };
}
