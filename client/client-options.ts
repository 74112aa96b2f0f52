import type { Clock } from "./clock.ts";
import type { DeviceOptions } from "./login/device.ts";
import type { ClientStore } from "./store.ts";

/** Address of the server, the device that logs in, and the dependencies of a client. */
export interface ClientOptions {
  /** Address of Lucky, such as "https://chat.example.org". */
  readonly url: string;
  readonly device: DeviceOptions;
  /** Keeps cursors and sends without a result; in memory when absent. One store per user. */
  readonly store?: ClientStore;
  /**
   * Where a device with an empty store starts: "none" (the default) after the entries that the
   * user's other devices have received, "all" at the first entry that the user may see.
   */
  readonly history?: "none" | "all";
  readonly clock?: Clock;
  readonly webSocket?: typeof WebSocket;
}

export interface SendOptions {
  /** Replaces the id that the client would generate; a retry uses the same id again. */
  readonly clientMessageId?: string;
}
