import type { DescMethod } from "@bufbuild/protobuf";
import { type ContextValues, createContextKey, type Interceptor } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Access } from "#gen/lucky/options/v1/options_pb.js";
import { fail } from "#platform/errors.ts";
import { type Caller, callerKey, type Role, type UserCaller } from "#platform/identity/caller.ts";
import {
  callingService,
  FORWARDING_SERVICES,
  type MeshCallers,
} from "#platform/identity/mesh-callers.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import { PEER_HEADER, peerAddress } from "#platform/rpc/peer.ts";
import type { MethodRules } from "#platform/rpc/rules.ts";
import type { ServiceName } from "#platform/service-name.ts";

/** Header with the secret of the calling service: the credential of our own services. */
export const MESH_HEADER = "lucky-mesh";

/**
 * Whether the door (see Door) has admitted the call: then its caller is known, and the interceptors
 * for access and rate limits have no more work.
 */
export const admittedKey = createContextKey(false, { description: "admitted by the door" });

/** A call as its path and headers describe it, before its request is read. */
export interface ArrivingCall {
  readonly method: DescMethod;
  readonly header: Headers;
  readonly contextValues: ContextValues;
}

/** Decides who calls, and whether the method admits the caller. */
export interface AccessControl {
  /**
   * Sets the caller of a call, and for calls that our own services forward also its address. Rejects
   * when the method's declared access does not admit the caller.
   */
  identify(call: ArrivingCall): Promise<void>;
  /** The user of the token in the headers, if the token was verified before. */
  known(header: Headers): UserCaller | undefined;
}

interface AccessOptions {
  readonly verifier: TokenVerifier;
  /** Absent: internal methods are refused for every caller. */
  readonly mesh?: MeshCallers | undefined;
  readonly rules: (method: DescMethod) => Pick<MethodRules, "name" | "access" | "callers">;
}

export function createAccessControl({ verifier, mesh, rules }: AccessOptions): AccessControl {
  async function callerOf(
    { name, access, callers }: Pick<MethodRules, "name" | "access" | "callers">,
    header: Headers,
    service: ServiceName | undefined,
  ): Promise<Caller> {
    switch (access) {
      case Access.PUBLIC: {
        const token = bearerOf(header);
        if (token === undefined) return { kind: "anonymous" };
        // A client may send a token where none is needed, such as an expired token with Refresh. An
        // invalid token counts as no token.
        return verifier.verify(token).catch((): Caller => ({ kind: "anonymous" }));
      }
      case Access.USER:
      case Access.PERSON:
      case Access.OPERATOR:
      case Access.ADMIN:
        return userOf(header);
      case Access.INTERNAL:
        if (service !== undefined && callers.includes(service)) return { kind: "service", service };
        throw fail(ErrorReason.PERMISSION_DENIED, internalRefusal(name, service));
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

  return {
    async identify({ method, header, contextValues: values }) {
      const declared = rules(method);
      const service = mesh && (values.get(callingService) ?? serviceOf(header, mesh));
      values.set(callingService, service);
      const caller = await callerOf(declared, header, service);
      values.set(callerKey, caller);
      if (caller.kind === "user") requireRole(declared, caller.role);
      // Trust the header only from services that forward calls, because any client can set it.
      const address = service && FORWARDING_SERVICES.has(service) ? header.get(PEER_HEADER) : null;
      if (address) values.set(peerAddress, address);
    },
    known(header) {
      const token = bearerOf(header);
      return token === undefined ? undefined : verifier.known?.(token);
    },
  };
}

/** Throws PERMISSION_DENIED when a method does not admit a logged-in user of this role. */
export function requireRole({ name, access }: Pick<MethodRules, "name" | "access">, role: Role) {
  switch (access) {
    case Access.PERSON:
      if (role !== "bot") return;
      throw fail(ErrorReason.PERMISSION_DENIED, `${name} is not for bots`);
    case Access.OPERATOR:
      if (role === "operator" || role === "admin") return;
      throw fail(ErrorReason.PERMISSION_DENIED, `${name} is for operators`);
    case Access.ADMIN:
      if (role === "admin") return;
      throw fail(ErrorReason.PERMISSION_DENIED, `${name} is for administrators`);
  }
}

/** Identifies the callers of calls that did not come through a door. */
export function accessInterceptor(access: Pick<AccessControl, "identify">): Interceptor {
  return (next) => async (request) => {
    if (!request.contextValues.get(admittedKey)) await access.identify(request);
    return next(request);
  };
}

/** The service that the header proves; undefined for most calls, which come from devices. */
function serviceOf(header: Headers, mesh: MeshCallers): ServiceName | undefined {
  const secret = header.get(MESH_HEADER);
  return secret === null ? undefined : mesh.identify(secret);
}

function internalRefusal(name: string, service: ServiceName | undefined): string {
  return service === undefined
    ? `${name} is for Lucky's own services`
    : `${name} does not admit ${service}`;
}

function bearerOf(header: Headers): string | undefined {
  return /^Bearer +(\S+)$/i.exec(header.get("authorization") ?? "")?.[1];
}
