import type { Dialect } from "./dialect.ts";

/** Which server is spoken to. */
export type DialectName = "lucky" | "socket.io" | "xmpp";

/** Loaded when it is spoken. */
export const dialects: Readonly<Record<DialectName, () => Promise<Dialect>>> = {
  lucky: async () => (await import("./lucky.ts")).lucky,
  "socket.io": async () => (await import("./socket-io.ts")).socketIo,
  xmpp: async () => (await import("./xmpp.ts")).xmpp,
};
