import { timingSafeEqual } from "node:crypto";
import type { DescMethod } from "@bufbuild/protobuf";
import type { Interceptor } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Access } from "#gen/lucky/options/v1/options_pb.js";
import { fail } from "#platform/errors.ts";
import { type Caller, callerKey, type UserCaller } from "#platform/identity/caller.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import { PEER_HEADER, peerAddress } from "#platform/rpc/peer.ts";
import type { MethodRules } from "#platform/rpc/rules.ts";

/** Header with the mesh secret: the credential of our own services. */
export const MESH_HEADER = "lucky-mesh";

interface AccessOptions {
  readonly verifier: TokenVerifier;
  /** Empty: internal methods are refused for every caller. */
  readonly meshSecret: string;
  readonly rules: (method: DescMethod) => MethodRules;
}

/**
 * Refuses callers that the method's declared access does not admit, and sets the caller of the call.
 * For calls that our own services forward it also sets the caller's address.
 */
export function accessInterceptor({ verifier, meshSecret, rules }: AccessOptions): Interceptor {
  const secret = Buffer.from(meshSecret);

  function fromMesh(header: Headers): boolean {
    const given = Buffer.from(header.get(MESH_HEADER) ?? "");
    return secret.length > 0 && given.length === secret.length && timingSafeEqual(given, secret);
  }

  async function callerOf(name: string, access: Access, header: Headers): Promise<Caller> {
    switch (access) {
      case Access.PUBLIC: {
        const token = bearerOf(header);
        if (token === undefined) return { kind: "anonymous" };
        // A client may send a token where none is needed, such as an expired token with Refresh. An
        // invalid token counts as no token.
        return verifier.verify(token).catch((): Caller => ({ kind: "anonymous" }));
      }
      case Access.USER:
        return userOf(header);
      case Access.PERSON: {
        const user = await userOf(header);
        if (user.role !== "bot") return user;
        throw fail(ErrorReason.PERMISSION_DENIED, `${name} is not for bots`);
      }
      case Access.OPERATOR: {
        const user = await userOf(header);
        if (user.role === "operator" || user.role === "admin") return user;
        throw fail(ErrorReason.PERMISSION_DENIED, `${name} is for operators`);
      }
      case Access.ADMIN: {
        const user = await userOf(header);
        if (user.role === "admin") return user;
        throw fail(ErrorReason.PERMISSION_DENIED, `${name} is for administrators`);
      }
      case Access.INTERNAL:
        if (fromMesh(header)) return { kind: "service" };
        throw fail(ErrorReason.PERMISSION_DENIED, `${name} is for Lucky's own services`);
      default:
        throw fail(ErrorReason.PERMISSION_DENIED, `${name} does not declare who may call it`);
    }
  }

  function userOf(header: Headers): Promise<UserCaller> {
    const token = bearerOf(header);
    if (token !== undefined) return verifier.verify(token);
    throw fail(
      ErrorReason.TOKEN_INVALID,
      "a header authorization: Bearer <access token> is needed",
    );
  }

  return (next) => async (request) => {
    const { name, access } = rules(request.method);
    const caller = await callerOf(name, access, request.header);
    request.contextValues.set(callerKey, caller);
    const { header } = request;
    // Trust the header only from our own services, because any client can set it.
    const address = fromMesh(header) ? header.get(PEER_HEADER) : null;
    if (address) request.contextValues.set(peerAddress, address);
    return next(request);
  };
}

function bearerOf(header: Headers): string | undefined {
  return /^Bearer +(\S+)$/i.exec(header.get("authorization") ?? "")?.[1];
}
