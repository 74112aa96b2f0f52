import type { Hello } from "#gen/lucky/frame/v1/frame_pb.js";
import { ContentSchema } from "#gen/lucky/message/v1/content_pb.js";
import type { Metrics } from "#platform/metrics.ts";
import type { ClientLabels } from "../socket/session.ts";

/** Revision of the protocol that this server was written for: that of frame.proto. */
export const PROTOCOL_REVISION = 1;

const [oneof] = ContentSchema.oneofs;
/** Names of the kinds of content of this server, by field number. */
const NAMES: ReadonlyMap<number, string> = new Map(
  oneof!.fields.map(({ number, name }) => [number, name]),
);
const ALL_KINDS = [...NAMES.values()];

/** The labels of a client. Without a list of kinds it shows all kinds of its revision. */
export function labelsOf({ contentKinds, protocolRevision }: Hello): ClientLabels {
  const shown = new Set(contentKinds.flatMap((kind) => NAMES.get(kind) ?? []));
  const revision = Math.max(1, protocolRevision);
  return {
    kinds: contentKinds.length === 0 ? ALL_KINDS : [...shown],
    revision: revision > PROTOCOL_REVISION ? "later" : String(revision),
  };
}

/** Counts the open sessions by what their clients understand, for operators. */
export class ClientCounts {
  readonly #kinds: { inc(labels: { kind: string }, by: number): void };
  readonly #revisions: { inc(labels: { revision: string }, by: number): void };

  constructor(metrics: Metrics) {
    this.#kinds = metrics.gauge(
      "lucky_sessions_by_kind",
      "Open sessions whose client shows a kind of content, by kind.",
      ["kind"],
    );
    this.#revisions = metrics.gauge(
      "lucky_sessions_by_revision",
      "Open sessions, by the protocol revision of their client.",
      ["revision"],
    );
  }

  opened(client: ClientLabels): void {
    this.#add(client, 1);
  }

  closed(client: ClientLabels): void {
    this.#add(client, -1);
  }

  #add({ kinds, revision }: ClientLabels, by: number): void {
    for (const kind of kinds) this.#kinds.inc({ kind }, by);
    this.#revisions.inc({ revision }, by);
  }
}
