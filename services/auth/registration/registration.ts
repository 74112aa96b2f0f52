import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService, RegisterRequest } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail, reasonOf } from "#platform/errors.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import { type Accounts, userOfAccount } from "../accounts/accounts.ts";
import type { BruteForceGuard } from "../credentials/brute-force-guard.ts";
import { requirePassword } from "../credentials/password-check.ts";
import type { PasswordPolicy } from "../credentials/password-policy.ts";
import type { Passwords } from "../credentials/passwords.ts";
import type { Account, Database } from "../database.ts";
import type { UserIds } from "../keys/user-ids.ts";
import type { Registered, RegistrationKeys } from "./registration-keys.ts";

/** Registers accounts with a user name and a password. */
export function createRegistration({
  accounts,
  clock,
  database,
  guard,
  passwordPolicy,
  passwords,
  registrationKeys,
  userIds,
}: {
  accounts: Pick<Accounts, "byId" | "create">;
  clock: Clock;
  database: Database;
  guard: BruteForceGuard;
  passwordPolicy: PasswordPolicy;
  passwords: Pick<Passwords, "decrypt" | "hash" | "verify">;
  registrationKeys: RegistrationKeys;
  userIds: UserIds;
}): Pick<ServiceImpl<typeof AuthService>, "register"> {
  /**
   * The account of a retry, whose key is known. The password is checked like that of a login, so that
   * the key is no way round the limits of guesses. All other content costs the same time and gets the
   * same error. Throws KEY_REUSED, ACCOUNT_LOCKED, RATE_LIMITED or OVERLOADED.
   */
  async function accountOfRetry(
    { userId, sameNames }: Registered,
    password: string,
    address: string | undefined,
  ): Promise<Account> {
    const account = sameNames ? await accounts.byId(userId) : undefined;
    if (account === undefined) {
      await passwords.verify(undefined, password);
      throw keyReused();
    }
    const claim = { account, userName: account.userName, password, address, errorText: "" };
    await requirePassword({ guard, passwords }, claim).catch((error: unknown) => {
      throw reasonOf(error) === ErrorReason.CREDENTIALS_INVALID ? keyReused() : error;
    });
    return account;
  }

  /** Creates the account; undefined when a concurrent call has taken the key. */
  async function createAccount(
    request: RegisterRequest,
    password: string,
  ): Promise<Account | undefined> {
    const { userName } = request;
    await passwordPolicy.requireStrong(password, userName, request.displayName);
    const created = {
      userId: await userIds.next(),
      userName,
      displayName: displayNameOf(request.displayName, userName),
      passwordHash: await passwords.hash(password),
      createdAt: new Date(clock.now()),
    };
    return database.$transaction(async (tx) => {
      // The key first: a concurrent retry then waits for it, and not for the name.
      if (!(await registrationKeys.take(tx, request, String(created.userId)))) return undefined;
      return accounts.create(created, tx);
    });
  }

  return {
    async register(request, { values }) {
      const [password] = await passwords.decrypt(request.password);
      const address = values.get(peerAddress);
      const known = await registrationKeys.find(request);
      if (known) return { user: userOfAccount(await accountOfRetry(known, password, address)) };
      const created = await createAccount(request, password);
      if (created) return { user: userOfAccount(created) };
      const first = await registrationKeys.find(request);
      if (first === undefined) throw keyReused();
      return { user: userOfAccount(await accountOfRetry(first, password, address)) };
    },
  };
}

/** The display name of an account: the wanted name, trimmed; the user name when that is empty. */
export const displayNameOf = (wanted: string, userName: string): string =>
  wanted.trim() || userName;

const keyReused = () =>
  fail(
    ErrorReason.KEY_REUSED,
    "the client_registration_id belongs to a registration with another name or password",
  );
