import type { Signal } from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import { groupChannel, userChannel } from "#platform/channels.ts";
import type { Clock } from "#platform/clock.ts";
import type { Revocations } from "#platform/identity/revocations.ts";
import type { Metrics, Tally } from "#platform/metrics.ts";
import type { Span, Traces } from "#platform/tracing/traces.ts";
import { type DecodedEnvelope, type Delivery, readEnvelope } from "../socket/envelope.ts";
import { kindOf } from "../socket/features.ts";
import { deliverFrames, syncRequiredFrame } from "../socket/frames.ts";
import type { Session } from "../socket/session.ts";
import type { Sessions } from "../socket/sessions.ts";
import type { SocketServer } from "../socket/socket-server.ts";
import {
  advanceWatermark,
  type Channel,
  type Channels,
  mayHear,
} from "../subscriptions/channels.ts";
import type { Memberships } from "../subscriptions/memberships.ts";
import type { Redelivery } from "./redelivery.ts";

export interface DownlinkOptions {
  channels: Channels;
  memberships: Pick<Memberships, "apply">;
  sessions: Sessions;
  sockets: Pick<SocketServer, "publish">;
  redelivery: Pick<Redelivery, "delivered">;
  revocations: Pick<Revocations, "learn">;
  clock: Clock;
  metrics: Metrics;
  /** Absent: no delivery is traced. */
  traces?: Traces | undefined;
  /** Name of the bus in traces. */
  bus: Pick<Bus, "system">;
  config: { readonly trackedConversations: number };
}

/**
 * After this many bytes of envelopes, processing pauses so that sockets can write: otherwise
 * healthy readers would count as slow.
 */
const BYTES_PER_TURN = 262_144;

/**
 * Delivers envelopes from the bus to the sessions that hear their channels. Channels without a
 * session on this instance are skipped.
 */
export class Downlink {
  readonly #options: DownlinkOptions;
  readonly #delivered: Tally;
  #bytesInTurn = 0;

  constructor(options: DownlinkOptions) {
    this.#options = options;
    const { metrics } = options;
    this.#delivered = metrics.tally(
      metrics.counter("lucky_deliveries_total", "Entries delivered, counted once per session."),
    );
  }

  /** Delivers one encoded Envelope. Rejects when it is malformed. */
  async receive(body: Uint8Array): Promise<void> {
    const envelope = readEnvelope(body);
    const span = envelope.traceparent === "" ? undefined : this.#trace(envelope, body);
    try {
      this.#process(envelope);
    } finally {
      span?.end();
    }
    this.#bytesInTurn += body.length;
    if (this.#bytesInTurn < BYTES_PER_TURN) return;
    this.#bytesInTurn = 0;
    await new Promise<void>((resolve) => setImmediate(resolve));
  }

  /** Starts the span of a delivery, within the trace of its publication. */
  #trace({ traceparent, deliveries }: DecodedEnvelope, body: Uint8Array): Span | undefined {
    const { traces, bus } = this.#options;
    return traces?.continue(traceparent, {
      name: "process connect",
      kind: "consumer",
      attributes: {
        "messaging.system.name": bus.system,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "connect",
        "messaging.message.envelope.size": body.length,
        "messaging.batch.message_count": deliveries.reduce(
          (n, { entries }) => n + entries.length,
          0,
        ),
      },
    });
  }

  #process({ memberships, deliveries, signals, kicks, revocations }: DecodedEnvelope): void {
    for (const { loginId, expiresAtMs } of revocations) {
      this.#options.revocations.learn(loginId, Number(expiresAtMs));
    }
    for (const membership of memberships) this.#options.memberships.apply(membership);
    const byChannel = new Map<Channel, Delivery[]>();
    for (const delivery of deliveries) {
      for (const name of delivery.channels) {
        const channel = this.#options.channels.get(name);
        if (!channel || delivery.entries.length === 0) continue;
        const list = byChannel.get(channel);
        if (list) list.push(delivery);
        else byChannel.set(channel, [delivery]);
      }
    }
    const changesMembers = memberships.length > 0;
    for (const [channel, list] of byChannel) {
      const late = this.#advance(channel, list, changesMembers);
      if (late) this.#deliverLate(channel, late);
      const timely = late ? list.filter((one) => !late.includes(one)) : list;
      if (timely.length > 0) this.#deliver(channel, timely);
    }
    for (const signal of signals) this.#signal(signal);
    for (const { sessionId, code } of kicks) {
      this.#options.sessions.get(sessionId)?.end(code, "ended by the server");
    }
  }

  /**
   * Advances the watermarks of the channel. Returns the late deliveries; undefined for none, the
   * usual case. A late delivery has entries that a session of the channel may not see, because its
   * user joined the group after them.
   */
  #advance(
    channel: Channel,
    deliveries: readonly Delivery[],
    changesMembers: boolean,
  ): Delivery[] | undefined {
    const { channels, config, redelivery } = this.#options;
    let late: Delivery[] | undefined;
    for (const delivery of deliveries) {
      const { conversationId, last, origins } = delivery;
      const limit = config.trackedConversations;
      const watermark = advanceWatermark(channel, { conversationId, last, origins, limit });
      redelivery.delivered(channel, conversationId, watermark);
      // A user's own channel hears entries of a group only together with changes of its members.
      const group = changesMembers ? channels.get(groupChannel(conversationId)) : channel;
      if (group === undefined || firstOf(delivery) >= group.newestFirst) continue;
      late ??= [];
      late.push(delivery);
    }
    return late;
  }

  /**
   * Delivers late entries to the sessions of a group that may see all of them. The others sync: server
   * knows the range of each member.
   */
  #deliverLate(channel: Channel, deliveries: readonly Delivery[]): void {
    const nowMs = this.#options.clock.elapsed();
    const isGroup = channel.name.startsWith("g:");
    for (const delivery of deliveries) {
      const { conversationId, last, entries } = delivery;
      const first = firstOf(delivery);
      const required = [syncRequiredFrame(conversationId, last)];
      const frames = deliverFrames(entries);
      for (const session of channel.sessions) {
        const hears = isGroup && mayHear(channel, session, first);
        const sent = (hears ? frames : required).every((frame) =>
          session.sendOptional(frame, nowMs),
        );
        if (sent && hears) this.#delivered.add(entries.length);
        if (sent) continue;
        if (session.cursors.inGroup(conversationId)) session.missedGroupEntries = true;
        else session.cursors.missed(conversationId, first);
      }
    }
  }

  #deliver(channel: Channel, deliveries: readonly Delivery[]): void {
    const { sockets } = this.#options;
    if (channel.name.startsWith("g:")) {
      // One publish instead of one write per session: uWebSockets.js batches all messages that one
      // turn of its loop publishes into one write per socket (measured in a prototype: 113,000
      // deliveries a second with one message in a turn, 354,000 with four).
      const entries = entriesOf(deliveries);
      for (const frame of deliverFrames(entries)) sockets.publish(channel.name, frame);
      this.#delivered.add(entries.length * channel.sessions.size);
      return;
    }
    let frames: Uint8Array[] | undefined;
    for (const session of channel.sessions) {
      if (deliveries.some(({ origins }) => origins.includes(session.id))) {
        this.#send(session, deliveries, deliverFrames(entriesOf(deliveries, session.id)));
      } else {
        frames ??= deliverFrames(entriesOf(deliveries));
        this.#send(session, deliveries, frames);
      }
    }
  }

  #send(session: Session, deliveries: readonly Delivery[], frames: readonly Uint8Array[]): void {
    const nowMs = this.#options.clock.elapsed();
    const sent = frames.every((frame) => session.sendOptional(frame, nowMs));
    for (const { conversationId, last, entries, origins } of deliveries) {
      const first = firstOf({ last, entries });
      let foreign = origins.length - 1;
      while (foreign >= 0 && origins[foreign] === session.id) foreign -= 1;
      if (sent) {
        const expected = foreign < 0 ? 0 : first + foreign;
        session.cursors.sent(conversationId, { first, last, expected });
        this.#delivered.add(entries.length);
      } else if (foreign >= 0) {
        session.cursors.missed(conversationId, first);
      }
    }
  }

  #signal({ channels, frame, exceptUserId }: Signal): void {
    const nowMs = this.#options.clock.elapsed();
    for (const name of channels) {
      const channel = this.#options.channels.get(name);
      if (!channel) continue;
      const declining = isDeclined(channel.declining, frame);
      const toAll = exceptUserId === "0" || !this.#options.channels.get(userChannel(exceptUserId));
      if (toAll && !declining && name.startsWith("g:")) {
        this.#options.sockets.publish(name, frame);
        continue;
      }
      for (const session of channel.sessions) {
        if (session.caller?.userId === exceptUserId) continue;
        if (declining && session.declined?.has(kindOf(frame))) continue;
        session.sendOptional(frame, nowMs);
      }
    }
  }
}

/** Sequence of the first entry. */
function firstOf({ last, entries }: Pick<Delivery, "last" | "entries">): number {
  return last - entries.length + 1;
}

/** Whether one of the sessions has declined frames of this kind. */
function isDeclined(declining: Iterable<Session> | undefined, frame: Uint8Array): boolean {
  if (declining === undefined) return false;
  const kind = kindOf(frame);
  for (const { declined } of declining) if (declined?.has(kind)) return true;
  return false;
}

/** The entries of all deliveries in order, except those that the session itself sent. */
function entriesOf(deliveries: readonly Delivery[], exceptSessionId?: string): Uint8Array[] {
  return deliveries.flatMap(({ entries, origins }) =>
    exceptSessionId === undefined
      ? entries
      : entries.filter((_, index) => origins[index] !== exceptSessionId),
  );
}
