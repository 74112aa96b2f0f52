import { create } from "@bufbuild/protobuf";
import type { Client, HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import type { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import {
  type OperationsService,
  type ReplayFailedBatchesRequest,
  type ReplayFailedBatchesResponse,
  ReplayFailedBatchesResponseSchema,
} from "#gen/lucky/operations/v1/operations_pb.js";
import { userOf } from "#platform/identity/caller.ts";
import type { Processes } from "#platform/process/processes.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import type { Database } from "../log/database.ts";
import type { Logs, Spread } from "../log/logs.ts";
import { connectDeliveries } from "./connect-deliveries.ts";
import { numbersOf } from "./database-numbers.ts";
import { listDeadLetters } from "./dead-letters.ts";
import { listFailedBatches } from "./failed-batches.ts";
import { traceMessage } from "./message-trace.ts";
import { listSettings } from "./settings-list.ts";

export interface OperationsDependencies {
  readonly logs: Logs;
  readonly processes: Processes;
  /** Client of auth, which keeps the audit log. */
  readonly sessions: Pick<Client<typeof SessionService>, "recordAudit">;
  /**
   * Resets failed batches, all or those with the ids, in all databases that can be reached, and begins
   * to publish them. Returns their number in each database.
   */
  readonly replay: (batchIds?: readonly string[]) => Promise<Spread<Database, number>>;
  /** Throws UNAVAILABLE while the instance stops. */
  readonly mustServe: () => void;
}

/** Implements OperationsService: operators' calls about the running system. */
export function operationsService(
  dependencies: OperationsDependencies,
): ServiceImpl<typeof OperationsService> {
  const { logs, processes, mustServe } = dependencies;
  const deliveries = connectDeliveries(processes);
  return {
    getSettings(request, { signal }) {
      mustServe();
      return listSettings(processes, request, signal);
    },
    async traceMessage(request, context) {
      mustServe();
      const { conversationId, sequence, reason } = request;
      const detail = `conversation ${conversationId}, entry ${sequence}`;
      await audited(dependencies, context, { action: AuditAction.MESSAGE_TRACED, detail, reason });
      return traceMessage({ logs, deliveries }, request, context.signal);
    },
    listFailedBatches(request) {
      mustServe();
      return listFailedBatches(logs, request);
    },
    replayFailedBatches(request, context) {
      mustServe();
      return replayFailedBatches(dependencies, request, context);
    },
    listDeadLetters(request) {
      mustServe();
      return listDeadLetters(logs, request);
    },
  };
}

/** Time-out of an audit entry, ms. The operator's call fails without it. */
const AUDIT_MS = 5_000;

/** Audits an operator's call before it happens. Throws PERMISSION_DENIED or UNAVAILABLE. */
async function audited(
  { sessions }: OperationsDependencies,
  context: HandlerContext,
  entry: { readonly action: AuditAction; readonly detail: string; readonly reason: string },
): Promise<void> {
  const actorId = userOf(context).userId;
  const address = context.values.get(peerAddress) ?? "";
  await sessions.recordAudit(
    { ...entry, actorId, peerAddress: address },
    { signal: context.signal, timeoutMs: AUDIT_MS },
  );
}

async function replayFailedBatches(
  dependencies: OperationsDependencies,
  { batchIds, reason }: ReplayFailedBatchesRequest,
  context: HandlerContext,
): Promise<ReplayFailedBatchesResponse> {
  const detail = batchIds.length === 0 ? "all failed batches" : `${batchIds.length} batches`;
  await audited(dependencies, context, { action: AuditAction.BATCHES_REPLAYED, detail, reason });
  const ids = batchIds.length === 0 ? undefined : batchIds;
  const { results, failures } = await dependencies.replay(ids);
  return create(ReplayFailedBatchesResponseSchema, {
    replayed: results.reduce((sum, batches) => sum + batches, 0),
    unreachableDatabases: numbersOf(failures),
  });
}
