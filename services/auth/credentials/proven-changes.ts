import type { HandlerContext } from "@connectrpc/connect";
import type { Proof } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { userOf } from "#platform/identity/caller.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import { accountForChange } from "../accounts/account-states.ts";
import type { Accounts } from "../accounts/accounts.ts";
import type { Account, Transaction } from "../database.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import { coarseAddress } from "../logins/coarse-address.ts";
import type { Logins } from "../logins/logins.ts";
import type { BruteForceGuard } from "./brute-force-guard.ts";
import type { Passwords } from "./passwords.ts";
import { accountGone, accountOf, requireProof, requireSamePassword } from "./proof.ts";
import type { GivenCode, SmsCodes } from "./sms-codes.ts";

/** The proof in a request, and the kinds that its method accepts. */
export interface RequestedProof {
  proof: Proof | undefined;
  /** "any", or "credential": the password, or a code for an account without a password. */
  accepts: "any" | "credential";
}

/** Runs changes that an access token alone must not make, because it may be stolen. */
export interface ProvenChanges {
  /**
   * Checks the caller's proof, then runs `work` in a transaction that holds the lock of the caller's
   * account; when `work` throws, a code stays valid. Throws PROOF_REQUIRED, TOKEN_REVOKED when the
   * account is not active or the calling login has ended, and the errors of a wrong proof: see the
   * message Proof of the contract.
   */
  run<T>(
    context: HandlerContext,
    requested: RequestedProof,
    work: (tx: Transaction) => Promise<T>,
  ): Promise<T>;
  /** Checks the caller's proof and uses up a code. Throws as `run` does. */
  require(context: HandlerContext, requested: RequestedProof): Promise<void>;
}

interface Dependencies {
  accounts: Pick<Accounts, "byId">;
  columns: ColumnEncryption;
  guard: BruteForceGuard;
  logins: Pick<Logins, "prove">;
  passwords: Pick<Passwords, "decrypt" | "verify">;
  smsCodes: Pick<SmsCodes, "redeem">;
}

export function createProvenChanges(d: Dependencies): ProvenChanges {
  async function requireRefreshToken(context: HandlerContext, refreshToken: string): Promise<void> {
    const { loginId } = userOf(context);
    const given = { refreshToken, coarseAddress: coarseAddress(context.values.get(peerAddress)) };
    const { kind } = await d.logins.prove(loginId, given, context.signal);
    if (kind === "proved") return;
    if (kind === "ended") throw loginOver();
    if (kind === "dependent")
      throw proofRequired("until it is kept, a login by QR code needs the password or a code");
    throw fail(ErrorReason.REFRESH_TOKEN_INVALID, "proof.refresh_token: not the current one");
  }

  /** Checks a proof. Returns the codes that the change must redeem. */
  async function check(
    context: HandlerContext,
    { proof, accepts }: RequestedProof,
    account: Account,
  ): Promise<GivenCode[]> {
    const address = context.values.get(peerAddress);
    const kind = proof?.kind;
    switch (kind?.case) {
      case "refreshToken":
        if (accepts === "credential")
          throw proofRequired("this call needs the password, or a code if there is none");
        await requireRefreshToken(context, kind.value);
        return [];
      case "password": {
        const [password] = await d.passwords.decrypt(kind.value);
        return requireProof(d, account, { password, code: "", address });
      }
      case "code":
        if (account.passwordHash !== null)
          throw proofRequired("an account with a password needs its password, not a code");
        return requireProof(d, account, { password: undefined, code: kind.value, address });
      default:
        throw proofRequired("an access token is not enough");
    }
  }

  async function run<T>(
    context: HandlerContext,
    requested: RequestedProof,
    work: (tx: Transaction) => Promise<T>,
  ): Promise<T> {
    const { userId, loginId } = userOf(context);
    const account = await accountOf(d, userId);
    const codes = await check(context, requested, account);
    return d.smsCodes.redeem(codes, async (tx) => {
      const now = await accountForChange(tx, userId);
      if (now.state !== "active") throw accountGone();
      if (requested.proof?.kind.case === "password") requireSamePassword(account, now);
      const active = { loginId, revokedAt: null };
      if ((await tx.login.count({ where: active })) === 0) throw loginOver();
      return work(tx);
    });
  }

  return { run, require: (context, requested) => run(context, requested, async () => {}) };
}

const proofRequired = (text: string) => fail(ErrorReason.PROOF_REQUIRED, `proof: ${text}`);
const loginOver = () => fail(ErrorReason.TOKEN_REVOKED, "the login has ended");
