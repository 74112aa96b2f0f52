import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  type AdvanceBatchRequest,
  AdvanceBatchResponseSchema,
  AppendBatchResponseSchema,
  type IngressService,
  OpenSessionsResponseSchema,
  ReadEntriesResponseSchema,
  SignalBatchResponseSchema,
  SweepResponseSchema,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import type { History } from "./catch-up/history.ts";
import type { Sweep } from "./catch-up/sweep.ts";
import { encodeResults } from "./sending/outcome.ts";
import type { Sends } from "./sending/sends.ts";
import type { Advance, Receipts } from "./signals/receipts.ts";
import type { Typing } from "./signals/typing.ts";

export interface IngressParts {
  readonly sends: Sends;
  readonly receipts: Receipts;
  readonly history: History;
  readonly sweep: Sweep;
  readonly typing: Typing;
  /** Throws UNAVAILABLE when nothing new is taken on. */
  readonly mustServe: () => void;
}

/** What connect calls: batches of what devices said. */
export function ingressService(parts: IngressParts): ServiceImpl<typeof IngressService> {
  const { sends, receipts, history, sweep, typing, mustServe } = parts;
  return {
    async appendBatch({ uplinks }) {
      mustServe();
      const results = await sends.append(uplinks);
      return create(AppendBatchResponseSchema, { results: encodeResults(results) });
    },
    async openSessions({ userIds }) {
      mustServe();
      const groups = await sweep.groups(userIds);
      return create(OpenSessionsResponseSchema, {
        opened: groups.map((groupIds) => ({ groupIds })),
      });
    },
    async advanceBatch(request) {
      mustServe();
      await receipts.advance(advancesOf(request));
      return create(AdvanceBatchResponseSchema);
    },
    async signalBatch({ signals }) {
      mustServe();
      await typing.many(signals);
      return create(SignalBatchResponseSchema);
    },
    async readEntries({ ranges }) {
      mustServe();
      const lists = await history.read(ranges);
      return create(ReadEntriesResponseSchema, { ranges: lists.map((entries) => ({ entries })) });
    },
    async sweep({ userIds, sinceMs }) {
      mustServe();
      const { changes, nextSinceMs } = await sweep.changes(userIds, Number(sinceMs));
      return create(SweepResponseSchema, { changes, nextSinceMs: BigInt(nextSinceMs) });
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
        },
  );
}
