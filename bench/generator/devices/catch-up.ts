import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  ListEntriesRequestSchema,
  ListEntriesResponseSchema,
  SyncRequestSchema,
  SyncResponseSchema,
} from "#gen/lucky/message/v1/message_pb.js";
import { Histogram } from "../../statistics/histogram.ts";
import { FetchedLog } from "../accounting/fetched-log.ts";
import type { MicrosecondClock } from "../timing/microsecond-clock.ts";
import type { DeviceCalls } from "./device-calls.ts";
import type { Devices } from "./devices.ts";

/** Entries in a page. */
const PAGE = 500;

export interface SyncOptions {
  /** Devices that catch up at the same time. */
  readonly atOnce: number;
}

/** Result of catching up by sync. */
export interface CatchUpResult {
  readonly elapsedUs: number;
  readonly cpuUs: number;
  /** Entries fetched; duplicates do not count. */
  readonly entries: number;
  /** Missing sequences: not fetched, up to the last sequence of each conversation. */
  readonly lost: number;
  /** Entries with an already fetched sequence. */
  readonly duplicated: number;
  /** Entries that arrived after an entry with a higher sequence. */
  readonly outOfOrder: number;
  /** Devices that did not catch up, by error. */
  readonly failures: Record<string, number>;
  /** Time until a device had all entries, µs, as counts by slot. */
  readonly latencies: Float64Array;
}

/** Progress of fetching one conversation to its end. */
interface Reading {
  readonly conversationId: string;
  readonly last: bigint;
  readonly log: FetchedLog;
}

/** The devices that catch up, and the clock that measures them. */
export interface CatchUpOptions extends SyncOptions {
  readonly devices: Devices;
  readonly calls: DeviceCalls;
  readonly clockUs: MicrosecondClock;
}

/** Lets devices catch up over the socket as after being offline: Sync, then the log in pages. */
export async function catchUpAll({
  devices,
  calls,
  clockUs,
  atOnce,
}: CatchUpOptions): Promise<CatchUpResult> {
  const latencies = new Histogram();
  const counts = { entries: 0, lost: 0, duplicated: 0, outOfOrder: 0 };
  const failures: Record<string, number> = {};
  const beganUs = clockUs();
  const cpuBefore = process.cpuUsage();
  // A copy: devices whose sessions end leave the list, but must be counted.
  const remaining = [...devices.all].values();
  const work = async () => {
    for (const device of remaining) {
      const sinceUs = clockUs();
      const readings = new Map<string, Reading>();
      const call: Call = (method, request) => calls.call({ devices, device }, { method, request });
      try {
        await catchUp(call, readings);
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
}

type Call = (method: string, request: Uint8Array) => Promise<Uint8Array>;

/**
 * Fetches all conversations of a device to the end that Sync reports. When Sync reports a conversation twice,
 * the second report continues after the fetched entries.
 */
async function catchUp(call: Call, readings: Map<string, Reading>): Promise<void> {
  let cursor = "";
  for (let more = true; more; ) {
    const request = toBinary(SyncRequestSchema, create(SyncRequestSchema, { cursor }));
    const page = fromBinary(SyncResponseSchema, await call("Sync", request));
    for (const { conversationId, lastSequence: last } of page.conversations) {
      const log = readings.get(conversationId)?.log ?? new FetchedLog();
      const reading = { conversationId, last, log };
      readings.set(conversationId, reading);
      await readPages(call, reading);
    }
    if (page.hasMore && page.nextCursor === cursor) {
      throw new Error("Sync returned the same cursor twice");
    }
    cursor = page.nextCursor;
    more = page.hasMore;
  }
}

async function readPages(call: Call, { conversationId, last, log }: Reading): Promise<void> {
  while (log.highest < last) {
    const after = log.highest;
    const request = create(ListEntriesRequestSchema, {
      conversationId,
      position: { case: "afterSequence", value: after },
      pageSize: PAGE,
    });
    const answer = await call("ListEntries", toBinary(ListEntriesRequestSchema, request));
    const page = fromBinary(ListEntriesResponseSchema, answer);
    for (const { sequence } of page.entries) log.take(sequence);
    // An empty page before the reported end: the remaining entries are missing.
    if (log.highest === after) break;
  }
}
