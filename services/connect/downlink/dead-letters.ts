import { create } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import {
  type IngressService,
  RecordDeadLettersRequestSchema,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { type DeadLetter, DeadLetterSchema } from "#gen/lucky/operations/v1/operations_pb.js";
import { gather } from "#platform/batching/gather.ts";
import type { Bus, Consumer, DeadLetter as Letter } from "#platform/bus/bus.ts";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { maxItems } from "#platform/validation/constraints.ts";
import { type Delivery, readEnvelope } from "../socket/envelope.ts";

/** Maximum dead letters in one call. */
const BATCH_LIMIT = maxItems(RecordDeadLettersRequestSchema.field.letters);
/** Maximum dead letters that wait for a call; further ones are only counted and logged. */
const QUEUE = 1_000;
const LINGER_MS = 200;
/** Conversations of a dead letter that are recorded. */
const MAX_RANGES = 20;

/**
 * Consumes dead letters from the bus: counts and logs them by reason, and sends their description
 * to server, which stores it for operators. Their entries are not lost: the log has them, and the
 * sweep notifies the sessions concerned.
 */
export function consumeDeadLetters(options: {
  bus: Bus;
  clock: Clock;
  config: { readonly callTimeoutMs: number };
  ingress: Pick<Client<typeof IngressService>, "recordDeadLetters">;
  log: Log;
  metrics: Metrics;
}): Promise<Consumer> {
  const { bus, clock, config, ingress, log, metrics } = options;
  const counter = metrics.counter(
    "lucky_dead_letters_total",
    "Dead letters, by queue and reason.",
    ["queue", "reason"],
  );
  const records = gather<DeadLetter, true>({
    clock,
    batchCount: BATCH_LIMIT,
    lingerMs: LINGER_MS,
    inFlight: 1,
    queueCount: QUEUE,
    async call(letters) {
      await ingress.recordDeadLetters(
        { letters: [...letters] },
        { timeoutMs: config.callTimeoutMs },
      );
      return letters.map(() => true);
    },
  });
  return bus.consumeDeadLetters(async (letter) => {
    const { queue, reason, body } = letter;
    counter.inc({ queue, reason });
    log.error({ event: "dead_letter", queue, reason, bytes: body.length });
    records.add(recordOf(letter, clock.now()))?.catch((err: unknown) => {
      log.warn({ event: "dead_letter_not_stored", queue, err });
    });
  });
}

/** The description of a dead letter for operators, without content. */
function recordOf({ queue, reason, body }: Letter, atMs: number): DeadLetter {
  const deliveries = deliveriesIn(body);
  return create(DeadLetterSchema, {
    atMs: BigInt(Math.round(atMs)),
    queue,
    reason,
    bytes: body.length,
    conversationCount: deliveries.length,
    ranges: deliveries.slice(0, MAX_RANGES).map(({ conversationId, last, entries }) => ({
      conversationId,
      firstSequence: BigInt(last - entries.length + 1),
      lastSequence: BigInt(last),
    })),
  });
}

/** The deliveries of an envelope; none of a malformed one, which is a reason for a dead letter. */
function deliveriesIn(body: Uint8Array): readonly Delivery[] {
  try {
    return readEnvelope(body).deliveries;
  } catch {
    return [];
  }
}
