import type { Clock } from "./clock.ts";
import type { DeviceOptions } from "./login/device.ts";
import type { ClientStore } from "./store.ts";

/** Where a client finds Lucky, for which device it speaks, and what it stands on. */
export interface ClientOptions {
  /** Address of Lucky, such as "https://chat.example.org". */
  readonly url: string;
  readonly device: DeviceOptions;
  /** Where to keep cursors and unanswered sends; memory when not given. One store a user. */
  readonly store?: ClientStore;
  /**
   * Where a device whose store is empty begins: "none" (the default) after what the user's other
   * devices have received, "all" at the first entry that the user may see.
   */
  readonly history?: "none" | "all";
  readonly clock?: Clock;
  readonly webSocket?: typeof WebSocket;
}

/** How a message is sent. */
export interface SendOptions {
  /** The key of the message, when it is not the client's to choose. */
  readonly clientMessageId?: string;
}
