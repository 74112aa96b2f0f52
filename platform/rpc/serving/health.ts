import { Code } from "@connectrpc/connect";
import {
  Health,
  HealthCheckResponse_ServingStatus as Status,
} from "#gen/grpc/health/v1/health_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail, invalidField } from "#platform/errors.ts";
import { type Served, serve } from "#platform/rpc/served.ts";
import { pause } from "#platform/waiting.ts";

/** How often Watch polls the status. */
const POLL_INTERVAL_MS = 1_000;

/** Maximum bytes of the name of a service. The contract of this service is not ours to constrain. */
const MAX_NAME_BYTES = 128;

/**
 * Maximum open Watch calls, which need no token and stay open. More are refused with OVERLOADED.
 */
const MAX_WATCHERS = 100;

export interface HealthOptions {
  /** Names of the services that can be checked. The empty name means the whole process. */
  readonly served: readonly Served[];
  readonly healthy: () => boolean;
  readonly clock: Clock;
  /** Ends all Watch calls. */
  readonly stop: AbortSignal;
}

/** The standard health service of gRPC: the process and all its services have the same status. */
export function healthService({ served, healthy, clock, stop }: HealthOptions): Served {
  const names = new Set(["", ...served.map(({ service }) => service.typeName)]);
  let watchers = 0;
  const now = () => (healthy() ? Status.SERVING : Status.NOT_SERVING);

  return serve(Health, {
    check({ service }) {
      requireShort(service);
      if (names.has(service)) return { status: now() };
      const code = Code.NotFound;
      throw fail(ErrorReason.METHOD_NOT_FOUND, "the service is not served here", { code });
    },
    async *watch({ service }, { signal }) {
      requireShort(service);
      if (watchers >= MAX_WATCHERS) {
        throw fail(ErrorReason.OVERLOADED, "too many Watch calls; use Check");
      }
      const either = AbortSignal.any([signal, stop]);
      let sent: Status | undefined;
      watchers++;
      try {
        while (!either.aborted) {
          const status = names.has(service) ? now() : Status.SERVICE_UNKNOWN;
          if (status !== sent) yield { status };
          sent = status;
          await pause(clock, POLL_INTERVAL_MS, either);
        }
      } finally {
        watchers--;
      }
    },
  });
}

function requireShort(service: string): void {
  if (Buffer.byteLength(service) <= MAX_NAME_BYTES) return;
  throw invalidField("service", `must have at most ${MAX_NAME_BYTES} bytes`);
}
