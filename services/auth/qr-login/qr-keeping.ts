import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { userOf } from "#platform/identity/caller.ts";
import type { ProvenChanges } from "../credentials/proven-changes.ts";

/** Makes a login by QR code the user's own: it no longer ends with the login that confirmed it. */
export function createQrKeeping({
  provenChanges,
}: {
  provenChanges: ProvenChanges;
}): Pick<ServiceImpl<typeof AuthService>, "keepQrLogin"> {
  return {
    async keepQrLogin({ proof }, context) {
      const { loginId } = userOf(context);
      await provenChanges.run(context, { proof, accepts: "credential" }, (tx) =>
        tx.login.update({ where: { loginId }, data: { confirmedBy: null } }),
      );
      return {};
    },
  };
}
