import { Writable } from "node:stream";
import type { Interceptor, ServiceImpl } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { systemClock } from "#platform/clock.ts";
import { type TestIssuer, testIssuer } from "#platform/identity/tokens.fixture.ts";
import type { Limiter } from "#platform/limiter/limiter.ts";
import { createMemoryLimiter } from "#platform/limiter/memory.ts";
import { createLog } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import type { Budgets } from "#platform/rpc/interceptors/budgets.ts";
import { serverInterceptors } from "#platform/rpc/interceptors/interceptors.ts";
import { type Served, serve } from "./served.ts";

export const MESH_SECRET = "s".repeat(32);

/** Services of the contract with the real interceptors, and with methods that a test implements. */
export interface TestService {
  readonly served: Served[];
  readonly interceptors: Interceptor[];
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
  readonly trustMesh?: boolean;
  readonly budgets?: Budgets;
  /** Counts the budgets; a limiter of its own when absent. */
  readonly limiter?: Limiter;
}

export async function testService(options: TestServiceOptions = {}): Promise<TestService> {
  const { trustMesh = true, budgets, limiter = createMemoryLimiter() } = options;
  const issuer = await testIssuer(systemClock);
  const metrics = new Metrics();
  const lines: Record<string, unknown>[] = [];
  const stream = new Writable({
    write(line, _encoding, done) {
      lines.push(JSON.parse(String(line)));
      done();
    },
  });
  const interceptors = serverInterceptors({
    log: createLog({ service: "test", instanceId: "test-0", level: "debug", stream }),
    metrics,
    clock: systemClock,
    verifier: issuer.verifier,
    meshSecret: MESH_SECRET,
    trustMesh,
    ...(budgets === undefined ? {} : { limiter, budgets }),
  });
  const served = [
    serve(AuthService, (options.auth ?? {}) as ServiceImpl<typeof AuthService>),
    serve(UserService, (options.user ?? {}) as ServiceImpl<typeof UserService>),
    serve(SessionService, (options.session ?? {}) as ServiceImpl<typeof SessionService>),
  ];
  const authorized = async () => ({
    headers: { authorization: `Bearer ${await issuer.token()}` },
  });
  return { served, interceptors, issuer, metrics, lines, authorized };
}

/** A handler that waits until its call is aborted, and rejects with the reason. */
export function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });
}
