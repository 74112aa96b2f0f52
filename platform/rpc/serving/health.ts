import { Code, ConnectError } from "@connectrpc/connect";
import {
  Health,
  HealthCheckResponse_ServingStatus as Status,
} from "#gen/grpc/health/v1/health_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { type Served, serve } from "#platform/rpc/served.ts";

/** How often Watch looks whether the status has changed. */
const LOOK_MS = 1_000;

/** Watch calls at once; anybody may make one, and it lasts. More are refused with OVERLOADED. */
const MAX_WATCHING = 100;

export interface HealthOptions {
  /** The services that can be asked for by name; the empty name is the whole process. */
  readonly served: readonly Served[];
  readonly healthy: () => boolean;
  readonly clock: Clock;
  /** Ends all Watch calls. */
  readonly stop: AbortSignal;
}

/** The standard health service of gRPC: one answer for the process and for each of its services. */
export function healthService({ served, healthy, clock, stop }: HealthOptions): Served {
  const names = new Set(["", ...served.map(({ service }) => service.typeName)]);
  let watching = 0;
  const now = () => (healthy() ? Status.SERVING : Status.NOT_SERVING);

  return serve(Health, {
    check({ service }) {
      if (names.has(service)) return { status: now() };
      throw new ConnectError(`no service ${service} here`, Code.NotFound);
    },
    async *watch({ service }, { signal }) {
      if (watching >= MAX_WATCHING) {
        throw fail(ErrorReason.OVERLOADED, "too many watch already; use Check");
      }
      const either = AbortSignal.any([signal, stop]);
      let told: Status | undefined;
      watching++;
      try {
        while (!either.aborted) {
          const status = names.has(service) ? now() : Status.SERVICE_UNKNOWN;
          if (status !== told) yield { status };
          told = status;
          await pause(either);
        }
      } finally {
        watching--;
      }
    },
  });

  function pause(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const wake = () => {
        timer.stop();
        signal.removeEventListener("abort", wake);
        resolve();
      };
      const timer = clock.after(LOOK_MS, wake);
      signal.addEventListener("abort", wake);
    });
  }
}
