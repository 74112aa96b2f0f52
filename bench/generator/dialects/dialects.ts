import type { Dialect } from "./dialect.ts";

/** Protocol that the devices speak. */
export type DialectName = "lucky" | "socket.io" | "xmpp";

/** Loaded on first use. */
export const dialects: Readonly<Record<DialectName, () => Promise<Dialect>>> = {
  lucky: async () => (await import("./lucky.ts")).lucky,
  "socket.io": async () => (await import("./socket-io.ts")).socketIo,
  xmpp: async () => (await import("./xmpp.ts")).xmpp,
};
