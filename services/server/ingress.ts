import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  type AdvanceBatchRequest,
  AdvanceBatchResponseSchema,
  AppendBatchResponseSchema,
  type IngressService,
  OpenSessionsResponseSchema,
  ReadEntriesResponseSchema,
  RecordDeadLettersResponseSchema,
  SignalBatchResponseSchema,
  SweepResponseSchema,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { spanKey } from "#platform/tracing/traces.ts";
import { readEntries } from "./catch-up/history.ts";
import { type SweepDependencies, sweep } from "./catch-up/sweep.ts";
import { groupsOf } from "./catch-up/user-groups.ts";
import { throwFirst } from "./log/logs.ts";
import { recordDeadLetters } from "./operations/dead-letters.ts";
import { encodeResults } from "./sending/outcome.ts";
import type { Sends } from "./sending/sends.ts";
import { type Advance, advanceCursors, type ReceiptDependencies } from "./signals/receipts.ts";
import { publishTypings, type TypingDependencies } from "./signals/typing.ts";

export interface IngressDependencies
  extends ReceiptDependencies,
    TypingDependencies,
    SweepDependencies {
  readonly sends: Sends;
  /** Throws UNAVAILABLE while the instance stops. */
  readonly mustServe: () => void;
}

/** Implements IngressService, for connect: batches of the requests of devices. */
export function ingressService(
  dependencies: IngressDependencies,
): ServiceImpl<typeof IngressService> {
  const { sends, logs, mustServe } = dependencies;
  return {
    async appendBatch({ uplinks }, context) {
      mustServe();
      const results = await sends.append(uplinks, context.values.get(spanKey));
      return create(AppendBatchResponseSchema, { results: encodeResults(results) });
    },
    async openSessions({ userIds }) {
      mustServe();
      const { groups, incomplete } = await groupsOf(logs, userIds);
      return create(OpenSessionsResponseSchema, {
        opened: groups.map((ofUser) => ({
          groupIds: [...ofUser.keys()],
          firstSequences: [...ofUser.values()],
          incomplete,
        })),
      });
    },
    async advanceBatch(request) {
      mustServe();
      const { advances } = request;
      const failures = await advanceCursors(dependencies, advancesOf(request));
      const ids = new Set(failures.flatMap(({ items }) => items.map((one) => one.conversationId)));
      const isFailed = (at: number) => ids.has(advances[at]!.cursor?.conversationId ?? "");
      const failed = [...advances.keys()].filter(isFailed);
      // With several databases, an error would make connect retry the batch before all later ones.
      if (failed.length === advances.length && logs.databases.length === 1) throwFirst(failures);
      return create(AdvanceBatchResponseSchema, { failed });
    },
    async signalBatch({ signals }) {
      mustServe();
      await publishTypings(dependencies, signals);
      return create(SignalBatchResponseSchema);
    },
    async readEntries({ ranges }) {
      mustServe();
      const lists = await readEntries(logs, ranges);
      return create(ReadEntriesResponseSchema, { ranges: lists.map((entries) => ({ entries })) });
    },
    async recordDeadLetters({ letters }) {
      mustServe();
      await recordDeadLetters(logs, letters);
      return create(RecordDeadLettersResponseSchema);
    },
    async sweep(request) {
      mustServe();
      const { changes, groups, memberUserIds, nextCursor, databases } = await sweep(
        dependencies,
        request,
      );
      return create(SweepResponseSchema, {
        changes: [...changes],
        groups: [...groups],
        memberUserIds: [...memberUserIds],
        nextCursor,
        databases: [...databases],
      });
    },
  };
}

function advancesOf({ advances }: AdvanceBatchRequest): Advance[] {
  return advances.flatMap(({ userId, cursor, undeliveredSequence }) =>
    cursor === undefined
      ? []
      : {
          userId,
          conversationId: cursor.conversationId,
          deliveredSequence: Number(cursor.deliveredSequence),
          readSequence: Number(cursor.readSequence),
          undeliveredSequence: Number(undeliveredSequence),
          epoch: cursor.epoch,
        },
  );
}
