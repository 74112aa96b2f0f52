import type { Feature } from "../gen/lucky/frame/v1/frame_pb.js";
import type { Clock } from "./clock.ts";
import type { DeviceOptions } from "./login/device.ts";
import type { ClientStore } from "./store.ts";

/** Address of the server, the device that logs in, and the dependencies of a client. */
export interface ClientOptions {
  /** Address of Lucky, such as "https://chat.example.org". */
  readonly url: string;
  readonly device: DeviceOptions;
  /**
   * Name of the program, the same in all its versions, such as "acme-web", at most 64 characters. Its
   * version is `device.clientVersion`. The operator may require a minimum version. Absent: this library.
   */
  readonly clientName?: string;
  /** Kinds of content that the program can show: field numbers in Content. Absent: all. */
  readonly contentKinds?: readonly number[];
  /** Optional frames that the program wants, at least one. Absent: all. */
  readonly features?: readonly Feature[];
  /** Keeps positions and sends without a result; in memory when absent. One store per user. */
  readonly store?: ClientStore;
  /**
   * Where a device with an empty store starts: "none" (the default) after the entries that the
   * user's other devices have received, "all" at the first entry that the user may see.
   */
  readonly history?: "none" | "all";
  /**
   * Way to catch up with a conversation. "log", the default: the client reads all missed entries. "jump": it skips
   * them when there are more than `jumpEntries`. See the event `jumped`.
   */
  readonly catchUp?: "log" | "jump";
  /** 1,000 when absent. */
  readonly jumpEntries?: number;
  readonly clock?: Clock;
  readonly webSocket?: typeof WebSocket;
}
