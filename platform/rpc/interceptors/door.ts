import type { DescMethod } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type ContextValues,
  createContextKey,
  type Interceptor,
  type UnaryRequest,
} from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail, reasonOf } from "#platform/errors.ts";
import { callerKey } from "#platform/identity/caller.ts";
import type { Pace } from "#platform/limiter/pace.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import type { MethodRules } from "#platform/rpc/rules.ts";
import { type AccessControl, type ArrivingCall, admittedKey } from "./access.ts";
import { isWeighed } from "./budgets.ts";
import { type LimitOptions, takePointsOf } from "./limit.ts";
import type { LoadShedder } from "./load-shedder.ts";
import type { Refusals } from "./refusals.ts";

/** Whether so many refusals of the caller's address wait that its connection should be closed. */
export const floodKey = createContextKey(false, { description: "flood of refused calls" });

/**
 * The door: the first check of every call that arrives over the network. It admits or refuses a call by
 * its path and headers, before the request is read, so that nobody makes the server read, decompress or
 * decode a request that it refuses anyway. The interceptors for access and rate limits skip admitted
 * calls, except for points that depend on the request.
 */
export interface Door {
  /**
   * Identifies the caller and takes the points of the call, and leaves the result in the context
   * values for the interceptors. Rejects with the error for the caller of a refused call, which is
   * logged and counted like every other call.
   */
  admit(call: ArrivingCall & { readonly signal: AbortSignal }): Promise<void>;
  /** Counts a refusal that does not come from `admit`, such as an unreadable request. */
  countRefusal(values: ContextValues): void;
  /** Remaining time in which calls of an address without a login are refused, ms; 0 for none. */
  waitMs(address: string | undefined): number;
  /**
   * Waits for the turn to answer a call of an address that is over a budget. Returns false at once
   * when too many of its refusals wait.
   */
  turn(address: string | undefined): Promise<boolean>;
}

export interface DoorOptions {
  readonly access: AccessControl;
  /** Absent: no rate limit. */
  readonly limit: LimitOptions | undefined;
  /** Logs and counts refused calls. */
  readonly observe: Interceptor;
  /** Absent: refusals are not counted. */
  readonly refusals: Refusals | undefined;
  /** Absent: callers over a budget are refused at once. */
  readonly pace: Pace | undefined;
  /** Absent: no call is shed. */
  readonly shedder: LoadShedder | undefined;
  readonly rules: (method: DescMethod) => MethodRules;
}

export function createDoor(options: DoorOptions): Door {
  const { access, limit, observe, refusals, pace, shedder, rules } = options;
  /**
   * Refuses callers with too many refused calls. A user whose token was verified before has
   * a separate count, so that other callers behind the same address cannot lock the user out.
   */
  function requireFewRefusals({ header, contextValues }: ArrivingCall): void {
    if (refusals === undefined) return;
    const user = access.known(header);
    const waitMs =
      user === undefined
        ? refusals.waitOfAddress(contextValues.get(peerAddress))
        : refusals.waitOfUser(user.userId);
    if (waitMs === 0) return;
    throw fail(ErrorReason.RATE_LIMITED, "too many refused calls", { retryAfterMs: waitMs });
  }

  function countRefusal(values: ContextValues): void {
    const caller = values.get(callerKey);
    const user = caller.kind === "user" ? { userId: caller.userId } : {};
    refusals?.count({ address: values.get(peerAddress), ...user });
  }

  return {
    async admit(call) {
      try {
        requireFewRefusals(call);
        shedder?.admit(rules(call.method));
        await access.identify(call);
        // The points of a weighed call are taken once its request is decoded.
        const points = isWeighed(call.method) ? 0 : 1;
        if (limit !== undefined) await takePointsOf(limit, call, points);
        call.contextValues.set(admittedKey, true);
      } catch (thrown) {
        const { code } = ConnectError.from(thrown);
        if (code === Code.Unauthenticated || code === Code.PermissionDenied)
          countRefusal(call.contextValues);
        if (pace !== undefined && reasonOf(thrown) === ErrorReason.RATE_LIMITED) {
          const inTurn = await pace.turn(call.contextValues.get(peerAddress), call.signal);
          call.contextValues.set(floodKey, !inTurn);
        }
        // Rejects with the error for the caller. The interceptor does not use the request, which
        // nobody has read.
        const refuse = observe(() => Promise.reject(thrown));
        await refuse({ ...call, stream: false } as unknown as UnaryRequest);
      }
    },
    countRefusal,
    waitMs: (address) => refusals?.waitOfAddress(address) ?? 0,
    turn: async (address) => pace === undefined || pace.turn(address),
  };
}
