import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
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
import { fail } from "#platform/errors.ts";
import { readEntries } from "./catch-up/history.ts";
import { changesSince, groupsOf, type SweepDependencies } from "./catch-up/sweep.ts";
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

const MAX_UPLINKS = 512;
const MAX_ADVANCES = 2_000;
const MAX_SIGNALS = 2_000;
const MAX_RANGES = 200;

/** Implements IngressService, for connect: batches of the requests of devices. */
export function ingressService(
  dependencies: IngressDependencies,
): ServiceImpl<typeof IngressService> {
  const { sends, db, mustServe } = dependencies;
  return {
    async appendBatch({ uplinks }) {
      mustServe();
      atMost(uplinks.length, MAX_UPLINKS, "uplinks");
      const results = await sends.append(uplinks);
      return create(AppendBatchResponseSchema, { results: encodeResults(results) });
    },
    async openSessions({ userIds }) {
      mustServe();
      const groups = await groupsOf(db, userIds);
      return create(OpenSessionsResponseSchema, {
        opened: groups.map((groupIds) => ({ groupIds })),
      });
    },
    async advanceBatch(request) {
      mustServe();
      atMost(request.advances.length, MAX_ADVANCES, "advances");
      await advanceCursors(dependencies, advancesOf(request));
      return create(AdvanceBatchResponseSchema);
    },
    async signalBatch({ signals }) {
      mustServe();
      atMost(signals.length, MAX_SIGNALS, "signals");
      await publishTypings(dependencies, signals);
      return create(SignalBatchResponseSchema);
    },
    async readEntries({ ranges }) {
      mustServe();
      atMost(ranges.length, MAX_RANGES, "ranges");
      const lists = await readEntries(db, ranges);
      return create(ReadEntriesResponseSchema, { ranges: lists.map((entries) => ({ entries })) });
    },
    async sweep({ userIds, sinceMs }) {
      mustServe();
      const range = { userIds, sinceMs: Number(sinceMs) };
      const { changes, nextSinceMs } = await changesSince(dependencies, range);
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

function atMost(count: number, most: number, name: string): void {
  if (count > most) throw fail(ErrorReason.INVALID_ARGUMENT, `${name}: more than ${most}`);
}
