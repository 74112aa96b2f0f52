import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { RpcResultSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import {
  ListEntriesRequestSchema,
  ListEntriesResponseSchema,
  SyncRequestSchema,
  SyncResponseSchema,
} from "#gen/lucky/message/v1/message_pb.js";
import { Histogram } from "../../statistics/histogram.ts";
import { ReadLog } from "../accounting/fetched-log.ts";
import { rpcFrame } from "../dialects/lucky.ts";
import type { Micros } from "../timing/microsecond-clock.ts";
import type { Device } from "./device.ts";
import type { Devices } from "./devices.ts";

const PAGE = 500;
/** All devices may ask at once, and each waits for those before it. */
const ANSWER_WITHIN_MS = 60_000;

export interface SyncOptions {
  /** Devices that catch up at the same time. */
  readonly atOnce: number;
}

/** What came of catching up by sync. */
export interface CaughtUp {
  readonly elapsedUs: number;
  readonly cpuUs: number;
  /** Places in logs that came, each once. */
  readonly entries: number;
  /** Places that did not come, before those that the server calls the last. */
  readonly lost: number;
  /** Entries at a place that was there already. */
  readonly duplicated: number;
  /** Entries that came after one that stands later. */
  readonly outOfOrder: number;
  /** Devices that did not get to the end, by why. */
  readonly failures: Record<string, number>;
  /** Until a device had everything, µs. */
  readonly latencies: Float64Array;
}

/** Catching up over the socket, as a device does that was away: Sync, then the log in pages. */
export interface CatchUp {
  run(devices: Devices, options: SyncOptions): Promise<CaughtUp>;
  /** Takes the answer to a device's only call. */
  answered(device: Device, result: Uint8Array): void;
  /** A device's session has ended: its call gets no answer any more. */
  ended(device: Device, why: string): void;
}

/** Who asks. */
interface Asking {
  readonly devices: Devices;
  readonly device: Device;
}

/** One conversation that is read to its end. */
interface Reading {
  readonly conversationId: string;
  readonly last: bigint;
  readonly log: ReadLog;
}

interface Waiting {
  resolve(response: Uint8Array): void;
  reject(error: Error): void;
}

export function createCatchUp(micros: Micros): CatchUp {
  const waiting = new Map<Device, Waiting>();

  /** Ends a device's call, if there is one. */
  function settle(device: Device, end: (call: Waiting) => void): void {
    const call = waiting.get(device);
    waiting.delete(device);
    if (call) end(call);
  }

  /** Rejects when the call fails, when no answer comes in time, and when the session ends before. */
  async function call(
    { devices, device }: Asking,
    { method, request }: { readonly method: string; readonly request: Uint8Array },
  ): Promise<Uint8Array> {
    if (!device.isOpen) throw new Error("the session had ended");
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<Uint8Array>((resolve, reject) => {
        waiting.set(device, { resolve, reject });
        timer = setTimeout(() => {
          const late = new Error(`${method} had no answer within ${ANSWER_WITHIN_MS / 1_000} s`);
          settle(device, (call) => call.reject(late));
        }, ANSWER_WITHIN_MS);
        device.write(rpcFrame(`lucky.message.v1.MessageService/${method}`, request));
        devices.flush();
      });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Reads all conversations to where Sync says that they end; one that it names twice, farther. */
  async function catchUp(asking: Asking, readings: Map<string, Reading>): Promise<void> {
    let cursor = "";
    for (let more = true; more; ) {
      const request = toBinary(SyncRequestSchema, create(SyncRequestSchema, { cursor }));
      const answer = await call(asking, { method: "Sync", request });
      const page = fromBinary(SyncResponseSchema, answer);
      for (const { conversationId, lastSequence: last } of page.conversations) {
        const log = readings.get(conversationId)?.log ?? new ReadLog();
        const reading = { conversationId, last, log };
        readings.set(conversationId, reading);
        await readPages(asking, reading);
      }
      if (page.hasMore && page.nextCursor === cursor) throw new Error("Sync does not get on");
      cursor = page.nextCursor;
      more = page.hasMore;
    }
  }

  async function readPages(asking: Asking, { conversationId, last, log }: Reading): Promise<void> {
    while (log.highest < last) {
      const after = log.highest;
      const request = create(ListEntriesRequestSchema, {
        conversationId,
        position: { case: "afterSequence", value: after },
        limit: PAGE,
      });
      const bytes = toBinary(ListEntriesRequestSchema, request);
      const answer = await call(asking, { method: "ListEntries", request: bytes });
      const page = fromBinary(ListEntriesResponseSchema, answer);
      for (const { sequence } of page.entries) log.take(sequence);
      // The log ends before its end: the rest is missing.
      if (log.highest === after) break;
    }
  }

  return {
    async run(devices, { atOnce }) {
      const latencies = new Histogram();
      const account = { entries: 0, lost: 0, duplicated: 0, outOfOrder: 0 };
      const failures: Record<string, number> = {};
      const beganUs = micros();
      const cpuBefore = process.cpuUsage();
      // A copy: who loses its session must not be left out.
      const rest = [...devices.all].values();
      const work = async () => {
        for (const device of rest) {
          const sinceUs = micros();
          const readings = new Map<string, Reading>();
          try {
            await catchUp({ devices, device }, readings);
            latencies.add(micros() - sinceUs);
          } catch (error) {
            const { message } = error as Error;
            failures[message] = (failures[message] ?? 0) + 1;
          }
          for (const { log, last } of readings.values()) {
            account.entries += log.entries;
            account.lost += log.missing(last);
            account.duplicated += log.duplicated;
            account.outOfOrder += log.outOfOrder;
          }
        }
      };
      await Promise.all(Array.from({ length: atOnce }, work));
      const { user, system } = process.cpuUsage(cpuBefore);
      return {
        ...account,
        failures,
        latencies: latencies.counts,
        elapsedUs: micros() - beganUs,
        cpuUs: user + system,
      };
    },

    answered(device, result) {
      const { outcome } = fromBinary(RpcResultSchema, result);
      settle(device, ({ resolve, reject }) => {
        if (outcome.case === "response") resolve(outcome.value);
        else reject(new Error(`a call failed: ${outcome.value?.text}`));
      });
    },

    ended(device, why) {
      settle(device, ({ reject }) => reject(new Error(`the session ended with ${why}`)));
    },
  };
}
