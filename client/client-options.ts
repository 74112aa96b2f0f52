import type { Feature } from "../gen/lucky/frame/v1/frame_pb.js";
import type { Clock } from "./clock.ts";
import type { DeviceOptions } from "./login/device.ts";
import type { ClientStore } from "./store.ts";
import type { TraceOptions } from "./trace-options.ts";

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
  readonly clock?: Clock;
  readonly webSocket?: typeof WebSocket;
}

/** A retry has the same trace. A send of an earlier run, from the store, has none. */
export interface SendOptions extends TraceOptions {
  /** Replaces the id that the client would generate; a retry uses the same id again. */
  readonly clientMessageId?: string;
}
