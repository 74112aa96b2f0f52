import type { DescMethod } from "@bufbuild/protobuf";
import type { Interceptor } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import { fail } from "#platform/errors.ts";
import { callerKey } from "#platform/identity/caller.ts";
import { networkOf } from "#platform/network.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import type { MethodRules } from "#platform/rpc/rules.ts";

/**
 * Calls of one caller that run at once. A caller without a login is a network, which many users may
 * share.
 */
const READS_AT_ONCE = 4;
const CHANGES_AT_ONCE = 4;
/** A user's changes lock the same rows: a second one would only hold a connection and wait. */
const CHANGES_OF_A_USER_AT_ONCE = 1;

/** Calls of one caller that may wait; further ones are refused with OVERLOADED. */
const MAX_WAITING = 1_000;
const RETRY_AFTER_MS = 1_000;

/** The calls of one caller: how many run, and those that wait, the oldest first. */
interface Turns {
  running: number;
  readonly waiting: Set<() => void>;
}

/**
 * Runs only a few calls of one caller at once in this process; further ones wait for their turn. A
 * burst of one caller, which its budget allows, then cannot hold all connections to the database
 * while it waits for locks of its own, and the calls of other callers run in between. Messages are not
 * affected: they wait in queues of their own.
 */
export function turnsInterceptor(rules: (method: DescMethod) => MethodRules): Interceptor {
  const byCaller = new Map<string, Turns>();

  /** Waits for a turn. Rejects with OVERLOADED, or when the call is aborted. */
  async function take(key: string, atOnce: number, signal: AbortSignal): Promise<void> {
    let turns = byCaller.get(key);
    if (turns === undefined) {
      turns = { running: 0, waiting: new Set() };
      byCaller.set(key, turns);
    }
    if (turns.running < atOnce) {
      turns.running += 1;
      return;
    }
    if (turns.waiting.size >= MAX_WAITING) {
      throw fail(ErrorReason.OVERLOADED, "too many calls at once", {
        retryAfterMs: RETRY_AFTER_MS,
      });
    }
    await waitIn(turns.waiting, signal);
  }

  /** Passes the turn to the oldest waiting call. */
  function release(key: string): void {
    const turns = byCaller.get(key)!;
    const [next] = turns.waiting;
    if (next !== undefined) {
      turns.waiting.delete(next);
      next();
      return;
    }
    turns.running -= 1;
    if (turns.running === 0) byCaller.delete(key);
  }

  return (next) => async (request) => {
    const { limit } = rules(request.method);
    const caller = request.contextValues.get(callerKey);
    const userId = caller.kind === "user" ? caller.userId : undefined;
    const address = request.contextValues.get(peerAddress);
    const atOnce = callsAtOnce(limit, userId !== undefined);
    // A call without user and address began in this process.
    const unknown = userId === undefined && address === undefined;
    if (request.stream || atOnce === undefined || unknown || caller.kind === "service") {
      return next(request);
    }
    const who = userId === undefined ? networkOf(address!) : `user ${userId}`;
    const key = `${limit} ${who}`;
    await take(key, atOnce, request.signal);
    try {
      return await next(request);
    } finally {
      release(key);
    }
  };
}

function callsAtOnce(limit: LimitClass, isUser: boolean): number | undefined {
  switch (limit) {
    case LimitClass.READ:
    case LimitClass.SEARCH:
      return READS_AT_ONCE;
    case LimitClass.WRITE:
      return isUser ? CHANGES_OF_A_USER_AT_ONCE : CHANGES_AT_ONCE;
    default:
      return undefined;
  }
}

/** Waits until it is removed from the queue and called, or rejects when the signal aborts. */
function waitIn(waiting: Set<() => void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const turn = () => {
      signal.removeEventListener("abort", aborted);
      resolve();
    };
    const aborted = () => {
      waiting.delete(turn);
      reject(signal.reason);
    };
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    signal.addEventListener("abort", aborted, { once: true });
    waiting.add(turn);
  });
}
