import type { DescService } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";

/** A service of the contract and its implementation. */
export interface Served<S extends DescService = DescService> {
  readonly service: S;
  readonly implementation: ServiceImpl<S>;
}

/** Pairs a service with its implementation. */
export function serve<S extends DescService>(service: S, implementation: ServiceImpl<S>): Served {
  return { service, implementation } as unknown as Served;
}

/** A running service process: the result of every `service.ts`. */
export interface RunningService {
  /** Its RPC services, to be served by `listen` or called in the same process. */
  readonly served: readonly Served[];
  /** Whether it can serve calls now; false while it drains. */
  ready(): boolean;
  /** Stops accepting calls, drains and closes, within a bounded time. Idempotent. */
  stop(): Promise<void>;
}
