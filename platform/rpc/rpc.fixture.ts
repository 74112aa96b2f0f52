import type { Interceptor, ServiceImpl, Transport } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { type Clock, systemClock } from "#platform/clock.ts";
import { meshCallers } from "#platform/identity/mesh-callers.ts";
import { type TestIssuer, testIssuer } from "#platform/identity/tokens.fixture.ts";
import type { Limiter } from "#platform/limiter/limiter.ts";
import { createMemoryLimiter } from "#platform/limiter/memory.ts";
import { keptLog } from "#platform/log.fixture.ts";
import { Metrics } from "#platform/metrics.ts";
import type { Budgets } from "#platform/rpc/interceptors/budgets.ts";
import type { Door } from "#platform/rpc/interceptors/door.ts";
import { serverInterceptors } from "#platform/rpc/interceptors/interceptors.ts";
import { type Served, serve } from "./served.ts";

/** Secrets of calling services. */
export const GATEWAY_SECRET = "g".repeat(32);
export const SERVER_SECRET = "s".repeat(32);
export const testCallers = meshCallers({ gateway: [GATEWAY_SECRET], server: [SERVER_SECRET] });

/** Services of the contract with the real interceptors, and with methods that a test implements. */
export interface TestService {
  readonly served: Served[];
  readonly interceptors: Interceptor[];
  readonly door: Door;
  readonly issuer: TestIssuer;
  readonly metrics: Metrics;
  /** Lines logged so far. */
  readonly lines: Record<string, unknown>[];
  readonly authorized: () => Promise<{ headers: { authorization: string } }>;
}

export interface TestServiceOptions {
  readonly auth?: Partial<ServiceImpl<typeof AuthService>>;
  readonly user?: Partial<ServiceImpl<typeof UserService>>;
  readonly session?: Partial<ServiceImpl<typeof SessionService>>;
  readonly budgets?: Budgets;
  /** Counts the budgets; a limiter of its own when absent. */
  readonly limiter?: Limiter;
  readonly refusalsPerSecond?: number;
  readonly clock?: Clock;
}

export async function testService(options: TestServiceOptions = {}): Promise<TestService> {
  const { budgets, limiter = createMemoryLimiter() } = options;
  const { refusalsPerSecond, clock = systemClock } = options;
  const issuer = await testIssuer(systemClock);
  const metrics = new Metrics();
  const { log, lines } = keptLog("debug");
  const { interceptors, door } = serverInterceptors({
    log,
    metrics,
    clock,
    verifier: issuer.verifier,
    mesh: testCallers,
    ...(budgets === undefined ? {} : { limiter, budgets }),
    ...(refusalsPerSecond === undefined ? {} : { refusalsPerSecond: () => refusalsPerSecond }),
  });
  const served = [
    serve(AuthService, (options.auth ?? {}) as ServiceImpl<typeof AuthService>),
    serve(UserService, (options.user ?? {}) as ServiceImpl<typeof UserService>),
    serve(SessionService, (options.session ?? {}) as ServiceImpl<typeof SessionService>),
  ];
  const authorized = async () => ({
    headers: { authorization: `Bearer ${await issuer.token()}` },
  });
  return { served, interceptors, door, issuer, metrics, lines, authorized };
}

/** A handler that waits until its call is aborted, and rejects with the reason. */
export function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });
}

/** A transport without a default deadline: a busy machine must not fail a test. */
export function withoutDeadline(transport: Transport): Transport {
  return {
    ...transport,
    unary: (method, signal, timeoutMs = 0, ...others) =>
      transport.unary(method, signal, timeoutMs, ...others),
  };
}
