import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { Settings } from "#platform/config/running-settings.ts";
import { operationsSecrets } from "#platform/config/secrets.ts";
import type { PlatformConfig } from "#platform/config/settings.ts";
import { fail } from "#platform/errors.ts";
import { meshCallers } from "#platform/identity/mesh-callers.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import {
  type ServerInterceptors,
  serverInterceptors,
} from "#platform/rpc/interceptors/interceptors.ts";
import type { Served } from "#platform/rpc/served.ts";
import type { ServiceName } from "#platform/service-name.ts";
import { type DescribeDeliveries, processService } from "./process-service.ts";

/** The operator's port serves no methods for users. */
const NO_USERS: TokenVerifier = {
  verify: () => Promise.reject(fail(ErrorReason.TOKEN_INVALID, "this port serves no users")),
};

export interface OperatorCalls {
  readonly served: readonly Served[];
  readonly checks: ServerInterceptors;
}

/** The calls that a process of the mesh serves on its operator's port, to server only. */
export function operatorCalls(options: {
  readonly service: ServiceName;
  readonly instanceId: string;
  readonly platform: PlatformConfig;
  readonly settings: Settings;
  readonly deliveries: () => DescribeDeliveries | undefined;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
}): OperatorCalls {
  const { service, platform } = options;
  const mesh = meshCallers({ server: operationsSecrets(service, platform) });
  return {
    served: [processService(options)],
    checks: serverInterceptors({ ...options, verifier: NO_USERS, mesh }),
  };
}
