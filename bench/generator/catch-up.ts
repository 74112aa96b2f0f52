import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { RpcResultSchema } from "../../gen/lucky/frame/v1/frame_pb.js";
import {
  ListEntriesRequestSchema,
  ListEntriesResponseSchema,
  SyncRequestSchema,
  SyncResponseSchema,
} from "../../gen/lucky/message/v1/message_pb.js";
import { Histogram } from "../histogram.ts";
import type { GeneratorApi } from "./api.ts";
import type { Device } from "./device.ts";
import type { Devices } from "./devices.ts";
import { rpcFrame } from "./lucky.ts";
import type { Micros } from "./micros.ts";

const PAGE = 500;

/** Catching up over the socket, as a device does that was away: Sync, then the log in pages. */
export interface CatchUp {
  run(
    devices: Devices,
    options: Parameters<GeneratorApi["sync"]>[0],
  ): ReturnType<GeneratorApi["sync"]>;
  /** Takes the answer to a device's only call. */
  answered(device: Device, result: Uint8Array): void;
}

export function createCatchUp(micros: Micros): CatchUp {
  const waiting = new Map<
    Device,
    { resolve(response: Uint8Array): void; reject(e: Error): void }
  >();

  function call(devices: Devices, device: Device, method: string, request: Uint8Array) {
    return new Promise<Uint8Array>((resolve, reject) => {
      waiting.set(device, { resolve, reject });
      device.write(rpcFrame(`lucky.message.v1.MessageService/${method}`, request));
      devices.flush();
    });
  }

  /** How many entries it got. */
  async function catchUp(devices: Devices, device: Device): Promise<number> {
    let entries = 0;
    let cursor = "";
    for (let more = true; more; ) {
      const request = toBinary(SyncRequestSchema, create(SyncRequestSchema, { cursor }));
      const page = fromBinary(SyncResponseSchema, await call(devices, device, "Sync", request));
      for (const { conversationId, lastSequence } of page.conversations) {
        const fetched = await pages(devices, device, conversationId, lastSequence);
        entries += fetched;
      }
      cursor = page.nextCursor;
      more = page.hasMore;
    }
    return entries;
  }

  async function pages(
    devices: Devices,
    device: Device,
    conversationId: string,
    last: bigint,
  ): Promise<number> {
    let entries = 0;
    for (let after = 0n; after < last; ) {
      const request = create(ListEntriesRequestSchema, {
        conversationId,
        position: { case: "afterSequence", value: after },
        limit: PAGE,
      });
      const bytes = toBinary(ListEntriesRequestSchema, request);
      const answer = await call(devices, device, "ListEntries", bytes);
      const page = fromBinary(ListEntriesResponseSchema, answer);
      const lastOfPage = page.entries.at(-1);
      if (!lastOfPage) break;
      entries += page.entries.length;
      after = lastOfPage.sequence;
    }
    return entries;
  }

  return {
    async run(devices, { atOnce }) {
      const latencies = new Histogram();
      const beganUs = micros();
      const cpuBefore = process.cpuUsage();
      let entries = 0;
      const rest = devices.all.values();
      const work = async () => {
        for (const device of rest) {
          const sinceUs = micros();
          const fetched = await catchUp(devices, device);
          entries += fetched;
          latencies.add(micros() - sinceUs);
        }
      };
      await Promise.all(Array.from({ length: atOnce }, work));
      const { user, system } = process.cpuUsage(cpuBefore);
      const elapsedUs = micros() - beganUs;
      return { latencies: latencies.counts, entries, elapsedUs, cpuUs: user + system };
    },

    answered(device, result) {
      const { outcome } = fromBinary(RpcResultSchema, result);
      const call = waiting.get(device);
      waiting.delete(device);
      if (outcome.case === "response") call?.resolve(outcome.value);
      else call?.reject(new Error(`a call failed: ${outcome.value?.text}`));
    },
  };
}
