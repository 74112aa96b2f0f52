import { createContextKey, type HandlerContext } from "@connectrpc/connect";
import type { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { ServiceName } from "#platform/service-name.ts";

/** Role of a user. The contract's `Access` defines which roles may call a method. */
export type Role = (typeof ROLES)[number];
export const ROLES = ["user", "bot", "operator", "admin"] as const;

/** A logged-in user, read from a verified access token. */
export interface UserCaller {
  readonly kind: "user";
  readonly userId: string;
  readonly deviceId: string;
  readonly deviceClass: DeviceClass;
  /** The login that the token belongs to (claim `sid`). */
  readonly loginId: string;
  readonly role: Role;
  /** The key that the token was signed with (header `kid`). */
  readonly keyId: string;
  /** When the token expires, milliseconds since the Unix epoch. */
  readonly expiresAtMs: number;
  /** The token itself, for calls on behalf of the user to another service. */
  readonly token: string;
}

/** The caller of a method: anonymous, a user, or one of our own services. */
export type Caller =
  | { readonly kind: "anonymous" }
  | UserCaller
  | { readonly kind: "service"; readonly service: ServiceName };

/** Only the access interceptor sets this value. */
export const callerKey = createContextKey<Caller>(
  { kind: "anonymous" },
  {
    description: "caller",
  },
);

/** The user who calls an ACCESS_USER method. */
export function userOf(context: Pick<HandlerContext, "values">): UserCaller {
  const caller = context.values.get(callerKey);
  if (caller.kind !== "user")
    throw fail(ErrorReason.TOKEN_INVALID, "a user's access token is needed");
  return caller;
}
