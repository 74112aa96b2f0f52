import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { SyncRequestSchema, SyncResponseSchema } from "#gen/lucky/message/v1/message_pb.js";
import type { DeviceCalls } from "./device-calls.ts";
import type { Devices } from "./devices.ts";

export interface PageSyncOptions {
  /** True to continue from the cursor of the device's last Sync; false to start from the beginning. */
  readonly resume: boolean;
  /** Devices that call at the same time. */
  readonly atOnce: number;
}

export interface PageSync extends PageSyncOptions {
  readonly devices: Devices;
  readonly calls: DeviceCalls;
  /** Cursors by index of the device; changed in place. */
  readonly cursors: Map<number, string>;
}

/**
 * Lets every device call Sync until there is no further page, without fetching entries, as after a reconnect.
 * Returns the number of conversations in the answers. The session of a device may end meanwhile, which is
 * counted with the ended sessions; another failed call rejects.
 */
export async function syncAllPages(options: PageSync): Promise<number> {
  const { devices, calls, cursors, resume, atOnce } = options;
  let conversations = 0;
  const remaining = [...devices.all].values();
  const work = async () => {
    for (const device of remaining) {
      let cursor = resume ? (cursors.get(device.index) ?? "") : "";
      try {
        for (let more = true; more; ) {
          const request = toBinary(SyncRequestSchema, create(SyncRequestSchema, { cursor }));
          const answer = await calls.call({ devices, device }, { method: "Sync", request });
          const page = fromBinary(SyncResponseSchema, answer);
          conversations += page.conversations.length;
          cursor = page.nextCursor;
          more = page.hasMore;
        }
        cursors.set(device.index, cursor);
      } catch (error) {
        if (device.isOpen) throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return conversations;
}
