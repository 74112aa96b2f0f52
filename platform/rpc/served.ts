import type { DescService } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";

/** A service of the contract together with what implements it. */
export interface Served<S extends DescService = DescService> {
  readonly service: S;
  readonly implementation: ServiceImpl<S>;
}

/** Ties an implementation to its service. */
export function serve<S extends DescService>(service: S, implementation: ServiceImpl<S>): Served {
  return { service, implementation } as unknown as Served;
}

/** What every `service.ts` returns: a service that runs until it is stopped. */
export interface RunningService {
  /** Its RPC services, to be listened with or called in-process. */
  readonly served: readonly Served[];
  /** Whether it can do its work right now; false while it drains. */
  ready(): boolean;
  /** Stop accepting, drain, close; bounded in time. Idempotent. */
  stop(): Promise<void>;
}
