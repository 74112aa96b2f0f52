import { randomUUID } from "node:crypto";
import type { DescService } from "@bufbuild/protobuf";
import { type Client, ConnectError } from "@connectrpc/connect";
import { AuthService, DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { sealPassword } from "../../../client/login/password.ts";
import { clientFrom } from "../../../test/world/people.ts";
import type { Target } from "./target.ts";

/** Registrations of one address, below the default budget of credentials. */
const REGISTRATIONS_PER_ADDRESS = 20;
const PASSWORD = "a passphrase for attacks";

export interface AttackUser {
  readonly userName: string;
  readonly userId: string;
  readonly password: string;
}

/** A client of one service, from an address of the attack. */
export function clientAt<S extends DescService>(
  target: Target,
  from: string,
  { service, token }: { service: S; token?: string },
): Client<S> {
  const nodeOptions = { createConnection: () => target.connect({ from }) };
  return clientFrom({ url: target.url, token, nodeOptions }, service);
}

/** Registers users, a few from each address of 127.0.3.0/24: the budgets of the attack's own address stay full. */
export async function registerUsers(target: Target, count: number): Promise<AttackUser[]> {
  const users: AttackUser[] = [];
  for (let nth = 0; nth < count; nth++) {
    const from = `127.0.3.${1 + Math.floor(nth / REGISTRATIONS_PER_ADDRESS)}`;
    const auth = clientAt(target, from, { service: AuthService });
    const userName = `attack-${randomUUID().slice(0, 8)}`;
    const password = await sealPassword(await auth.getPublicKey({}), PASSWORD);
    const { user } = await auth.register({ userName, password });
    users.push({ userName, userId: user!.userId, password: PASSWORD });
  }
  return users;
}

/** Logs in a device of its own, from another address than the attack's. Returns the access token. */
export async function logIn(target: Target, { userName, password }: AttackUser): Promise<string> {
  const auth = clientAt(target, "127.0.4.1", { service: AuthService });
  const { tokens } = await auth.login({
    userName,
    password: await sealPassword(await auth.getPublicKey({}), password),
    device: { deviceId: randomUUID(), deviceClass: DeviceClass.BOT },
  });
  return tokens!.accessToken;
}

/** Label of a failed call for the tally: its reason; rethrows errors that do not come from the server. */
export function refusalOf(error: unknown): string {
  if (!(error instanceof ConnectError)) throw error;
  const reason = reasonOf(error);
  if (reason === ErrorReason.UNSPECIFIED) throw error;
  return ErrorReason[reason];
}
