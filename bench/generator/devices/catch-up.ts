import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { RpcResultSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import {
  ListEntriesRequestSchema,
  ListEntriesResponseSchema,
  SyncRequestSchema,
  SyncResponseSchema,
} from "#gen/lucky/message/v1/message_pb.js";
import { Histogram } from "../../statistics/histogram.ts";
import { FetchedLog } from "../accounting/fetched-log.ts";
import { rpcFrame } from "../dialects/lucky.ts";
import type { MicrosecondClock } from "../timing/microsecond-clock.ts";
import type { Device } from "./device.ts";
import type { Devices } from "./devices.ts";

const PAGE = 500;
/** Time-out of a call, milliseconds: all devices may call at once, and each waits for those before it. */
const ANSWER_TIMEOUT_MS = 60_000;

export interface SyncOptions {
  /** Devices that catch up at the same time. */
  readonly atOnce: number;
}

/** How catching up by sync went. */
export interface CatchUpResult {
  readonly elapsedUs: number;
  readonly cpuUs: number;
  /** Entries fetched; duplicates do not count. */
  readonly entries: number;
  /** Sequences that were not fetched, up to the last one of each conversation. */
  readonly lost: number;
  /** Entries whose sequence was fetched before. */
  readonly duplicated: number;
  /** Entries that arrived after an entry with a higher sequence. */
  readonly outOfOrder: number;
  /** Devices that did not catch up, by error. */
  readonly failures: Record<string, number>;
  /** Time until a device had all entries, µs, as counts by slot. */
  readonly latencies: Float64Array;
}

/** Catches up over the socket like a device that was away: Sync, then the log in pages. */
export interface CatchUp {
  run(devices: Devices, options: SyncOptions): Promise<CatchUpResult>;
  /** Takes the answer to the call of a device. A device has one call at a time. */
  answered(device: Device, result: Uint8Array): void;
  /** Fails the call of a device whose session has ended. */
  ended(device: Device, why: string): void;
}

/** The device that calls. */
interface Caller {
  readonly devices: Devices;
  readonly device: Device;
}

/** One conversation that is fetched to its end. */
interface Reading {
  readonly conversationId: string;
  readonly last: bigint;
  readonly log: FetchedLog;
}

interface Waiting {
  resolve(response: Uint8Array): void;
  reject(error: Error): void;
}

export function createCatchUp(clockUs: MicrosecondClock): CatchUp {
  const waiting = new Map<Device, Waiting>();

  /** Ends the call of a device, if it has one. */
  function settle(device: Device, end: (call: Waiting) => void): void {
    const call = waiting.get(device);
    waiting.delete(device);
    if (call) end(call);
  }

  /** Rejects when the call fails or times out, and when the session ends before the answer. */
  async function call(
    { devices, device }: Caller,
    { method, request }: { readonly method: string; readonly request: Uint8Array },
  ): Promise<Uint8Array> {
    if (!device.isOpen) throw new Error("the session had ended");
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<Uint8Array>((resolve, reject) => {
        waiting.set(device, { resolve, reject });
        timer = setTimeout(() => {
          const timeout = new Error(
            `${method} had no answer within ${ANSWER_TIMEOUT_MS / 1_000} s`,
          );
          settle(device, (call) => call.reject(timeout));
        }, ANSWER_TIMEOUT_MS);
        device.write(rpcFrame(`lucky.message.v1.MessageService/${method}`, request));
        devices.flush();
      });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Fetches all conversations to the end that Sync reports. One that is reported twice is continued. */
  async function catchUp(caller: Caller, readings: Map<string, Reading>): Promise<void> {
    let cursor = "";
    for (let more = true; more; ) {
      const request = toBinary(SyncRequestSchema, create(SyncRequestSchema, { cursor }));
      const answer = await call(caller, { method: "Sync", request });
      const page = fromBinary(SyncResponseSchema, answer);
      for (const { conversationId, lastSequence: last } of page.conversations) {
        const log = readings.get(conversationId)?.log ?? new FetchedLog();
        const reading = { conversationId, last, log };
        readings.set(conversationId, reading);
        await readPages(caller, reading);
      }
      if (page.hasMore && page.nextCursor === cursor)
        throw new Error("Sync returned the same cursor twice");
      cursor = page.nextCursor;
      more = page.hasMore;
    }
  }

  async function readPages(caller: Caller, { conversationId, last, log }: Reading): Promise<void> {
    while (log.highest < last) {
      const after = log.highest;
      const request = create(ListEntriesRequestSchema, {
        conversationId,
        position: { case: "afterSequence", value: after },
        limit: PAGE,
      });
      const bytes = toBinary(ListEntriesRequestSchema, request);
      const answer = await call(caller, { method: "ListEntries", request: bytes });
      const page = fromBinary(ListEntriesResponseSchema, answer);
      for (const { sequence } of page.entries) log.take(sequence);
      // An empty page before the reported end: the remaining entries are missing.
      if (log.highest === after) break;
    }
  }

  return {
    async run(devices, { atOnce }) {
      const latencies = new Histogram();
      const counts = { entries: 0, lost: 0, duplicated: 0, outOfOrder: 0 };
      const failures: Record<string, number> = {};
      const beganUs = clockUs();
      const cpuBefore = process.cpuUsage();
      // A copy, because devices whose sessions end are removed but must count.
      const remaining = [...devices.all].values();
      const work = async () => {
        for (const device of remaining) {
          const sinceUs = clockUs();
          const readings = new Map<string, Reading>();
          try {
            await catchUp({ devices, device }, readings);
            latencies.add(clockUs() - sinceUs);
          } catch (error) {
            const { message } = error as Error;
            failures[message] = (failures[message] ?? 0) + 1;
          }
          for (const { log, last } of readings.values()) {
            counts.entries += log.entries;
            counts.lost += log.missing(last);
            counts.duplicated += log.duplicated;
            counts.outOfOrder += log.outOfOrder;
          }
        }
      };
      await Promise.all(Array.from({ length: atOnce }, work));
      const { user, system } = process.cpuUsage(cpuBefore);
      return {
        ...counts,
        failures,
        latencies: latencies.counts,
        elapsedUs: clockUs() - beganUs,
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
