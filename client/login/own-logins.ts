import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ProofSchema } from "../../gen/lucky/auth/v1/auth_pb.js";
import type { LoggedInDevice } from "../../gen/lucky/auth/v1/device_pb.js";
import { LuckyError } from "../error.ts";
import type { Rpc } from "../rpc/rpc.ts";
import type { TokenKeeper } from "../rpc/tokens.ts";
import type { Credentials } from "./credentials.ts";

type SentProof = MessageInitShape<typeof ProofSchema>;

/**
 * Calls that list, make or end logins of the user. To make or end a login, an access token is not
 * enough: these calls carry this device's refresh token, or the password if given. A login by QR code
 * that is not kept needs the password, otherwise they throw PROOF_REQUIRED. All throw LuckyErrors.
 */
export class OwnLogins {
  readonly #rpc: Pick<Rpc, "auth" | "devices">;
  readonly #credentials: Pick<Credentials, "sealed">;
  readonly #tokens: Pick<TokenKeeper, "refreshToken">;

  constructor(
    rpc: Pick<Rpc, "auth" | "devices">,
    proofs: {
      credentials: Pick<Credentials, "sealed">;
      tokens: Pick<TokenKeeper, "refreshToken">;
    },
  ) {
    this.#rpc = rpc;
    this.#credentials = proofs.credentials;
    this.#tokens = proofs.tokens;
  }

  /** All logged-in devices of the user, latest login first. */
  async devices(): Promise<LoggedInDevice[]> {
    const all: LoggedInDevice[] = [];
    let pageToken = "";
    try {
      do {
        const page = await this.#rpc.devices.listDevices({ pageToken });
        all.push(...page.devices);
        pageToken = page.nextPageToken;
      } while (pageToken !== "");
    } catch (error) {
      throw LuckyError.from(error);
    }
    return all;
  }

  /** Logs in the device whose code this phone has scanned, after its user agreed. */
  async confirmQrLogin(qrLoginId: string, password?: string): Promise<void> {
    await this.#proven(password, (proof) => this.#rpc.auth.confirmQrLogin({ qrLoginId, proof }));
  }

  /** Makes this login by QR code independent of the login that confirmed it. */
  async keepQrLogin(password: string): Promise<void> {
    await this.#proven(password, (proof) => this.#rpc.auth.keepQrLogin({ proof }));
  }

  /** Ends the login of a device. Throws DEVICE_NOT_FOUND. */
  async revokeDevice(deviceId: string, password?: string): Promise<void> {
    await this.#proven(password, (proof) => this.#rpc.devices.revokeDevice({ deviceId, proof }));
  }

  /** Ends all logins of the user except this one. Returns their number. */
  async revokeOtherDevices(password?: string): Promise<number> {
    const call = (proof: SentProof) => this.#rpc.devices.revokeOtherDevices({ proof });
    return (await this.#proven(password, call)).revoked;
  }

  async #proven<T>(
    password: string | undefined,
    call: (proof: SentProof) => Promise<T>,
  ): Promise<T> {
    if (password !== undefined)
      return this.#credentials.sealed(password, (sealed) =>
        call({ kind: { case: "password", value: sealed } }),
      );
    try {
      const value = await this.#tokens.refreshToken();
      return await call({ kind: { case: "refreshToken", value } });
    } catch (error) {
      throw LuckyError.from(error);
    }
  }
}
