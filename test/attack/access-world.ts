import { Http2SessionManager } from "@connectrpc/connect-node";
import { Access } from "#gen/lucky/options/v1/options_pb.js";
import type { Role } from "#platform/identity/caller.ts";
import type { Teardown } from "../backends/teardown.ts";
import { people } from "../world/people.ts";
import { startWorld, type World } from "../world/world.ts";
import { accessOf, methods } from "./method-calls.ts";
import { type Sign, signerOf } from "./signing.ts";

export const publicMethods = methods.filter((method) => accessOf(method) === Access.PUBLIC);
export const internalMethods = methods.filter((method) => accessOf(method) === Access.INTERNAL);
/** Methods that need a login. */
export const guardedMethods = methods.filter(
  (method) => !publicMethods.includes(method) && !internalMethods.includes(method),
);

/** Roles that may call methods of each kind of guarded access. A new kind must be added here. */
export const ROLES: Partial<Record<Access, readonly Role[]>> = {
  [Access.USER]: ["bot", "user", "operator", "admin"],
  [Access.PERSON]: ["user", "operator", "admin"],
  [Access.OPERATOR]: ["operator", "admin"],
  [Access.ADMIN]: ["admin"],
};

/** A system without limits on searches and codes. */
export interface AccessWorld {
  readonly world: World;
  /** Signs with its access-token key. */
  readonly sign: Sign;
  /** The HTTP/2 connection to its gateway that all gRPC calls share. */
  readonly session: Http2SessionManager;
}

/** Starts a world, which stops at teardown. */
export async function startAccessWorld(t: Teardown): Promise<AccessWorld> {
  const keyEncryptionKey = Buffer.alloc(32, 3).toString("base64");
  const world = await startWorld(t, {
    settings: {
      LUCKY_AUTH_KEY_ENCRYPTION_KEY: keyEncryptionKey,
      LUCKY_LIMITS_SEARCH_PER_MINUTE: "100000",
      // The limiter counts codes per address; a test of every method requests many from one.
      LUCKY_AUTH_SMS_PER_ADDRESS_PER_HOUR: "100000",
    },
  });
  const session = new Http2SessionManager(world.url);
  t.after(async () => session.abort());
  return { world, sign: await signerOf(world.pool, keyEncryptionKey), session };
}

/** Registers a user with a role. Each login is of a new device. */
export async function userWithRole(world: World, role: Role) {
  const [person] = await people(world, role);
  const sql = "UPDATE auth.account SET role = $2 WHERE user_id = $1";
  await world.pool.query(sql, [person!.userId, role]);
  return { userId: person!.userId, login: async () => (await person!.login()).accessToken };
}
