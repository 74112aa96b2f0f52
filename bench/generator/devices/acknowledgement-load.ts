import { WireWriter } from "#platform/wire.ts";
import type { Dialect } from "../dialects/dialect.ts";
import type { Devices } from "./devices.ts";

/** Devices acknowledge in turn, so that their frames spread over the interval. */
const SLOTS = 20;

export interface AcknowledgementLoad {
  /** Conversation that each device acknowledges, by index of the device; others do not acknowledge. */
  readonly conversationIds: Readonly<Record<number, string>>;
  /** Sequence of the first round; each further round acknowledges the next one. */
  readonly firstSequence: number;
  readonly rounds: number;
  /** Interval of the rounds, ms. */
  readonly everyMs: number;
}

export interface Acknowledging extends AcknowledgementLoad {
  readonly devices: Devices;
  readonly dialect: Dialect;
}

/**
 * Lets each device advance its delivered cursor once per round, without messages. Returns the number of
 * acknowledgements, at the end of the last round.
 */
export async function acknowledgeAll(options: Acknowledging): Promise<number> {
  const { devices, dialect, conversationIds, firstSequence, rounds, everyMs } = options;
  const encoded = new Map(
    Object.entries(conversationIds).map(([index, id]) => [
      Number(index),
      // The varint after the tag of one byte.
      new WireWriter(16).varint(1, BigInt(id)).finish().subarray(1),
    ]),
  );
  let acknowledged = 0;
  let tick = 0;
  const work = () => {
    const sequence = firstSequence + Math.floor(tick / SLOTS);
    for (const device of devices.all) {
      const conversation = encoded.get(device.index);
      if (conversation === undefined || device.index % SLOTS !== tick % SLOTS) continue;
      const frame = dialect.acknowledge(conversation, sequence);
      if (frame === undefined) continue;
      device.write(frame);
      acknowledged++;
    }
    devices.flush();
    tick++;
  };
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      work();
      if (tick < rounds * SLOTS) return;
      clearInterval(timer);
      resolve();
    }, everyMs / SLOTS);
  });
  return acknowledged;
}
