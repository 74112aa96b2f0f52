import type { ServiceImpl } from "@connectrpc/connect";
import type { OperationsService } from "#gen/lucky/operations/v1/operations_pb.js";
import type { Processes } from "#platform/process/processes.ts";
import { listSettings } from "./settings-list.ts";

export interface OperationsDependencies {
  readonly processes: Processes;
  /** Throws UNAVAILABLE while the instance stops. */
  readonly mustServe: () => void;
}

/** Implements OperationsService: what operators ask about the running system. */
export function operationsService({
  processes,
  mustServe,
}: OperationsDependencies): ServiceImpl<typeof OperationsService> {
  return {
    getSettings(request, { signal }) {
      mustServe();
      return listSettings(processes, request, signal);
    },
  };
}
