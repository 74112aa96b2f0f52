import { fromBinary } from "@bufbuild/protobuf";
import { type ServerFrame, ServerFrameSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { type Envelope, EnvelopeSchema } from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import { type Entry, EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";

/** Envelopes that one instance received over the bus. */
export class Subscriber {
  readonly envelopes: Envelope[] = [];
  readonly #waiting = new Set<() => void>();

  take(body: Uint8Array): void {
    this.envelopes.push(fromBinary(EnvelopeSchema, body));
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  get entries(): Entry[] {
    return this.envelopes.flatMap(({ deliveries }) =>
      deliveries.flatMap(({ entries }) => entries.map((bytes) => fromBinary(EntrySchema, bytes))),
    );
  }

  get frames(): ServerFrame[] {
    return this.envelopes.flatMap(({ signals }) =>
      signals.map(({ frame }) => fromBinary(ServerFrameSchema, frame)),
    );
  }

  get texts(): string[] {
    return this.entries.map(textOf);
  }

  /** Resolves when the condition holds; checks it after each envelope. */
  async until(holds: (subscriber: Subscriber) => boolean): Promise<void> {
    while (!holds(this)) await new Promise<void>((resolve) => this.#waiting.add(resolve));
  }
}

/** The text of an entry, or its kind in parentheses. */
export function textOf(entry: Entry): string {
  const kind = entry.content?.kind;
  return kind?.case === "text" ? kind.value.text : `(${kind?.case})`;
}
