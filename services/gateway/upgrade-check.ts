import type { IncomingMessage } from "node:http";
import { upgradeFault } from "#platform/rpc/websocket-upgrade.ts";
import { SOCKET_PATH } from "./endpoint.ts";

/** A refused upgrade. */
export interface Refused {
  /** Code and reason phrase, such as "404 Not Found". */
  readonly status: string;
  /** A sentence for the developer of the client. */
  readonly text: string;
}

/** An upgrade request with its parsed URL, or the reason to refuse it. */
export type CheckedUpgrade =
  | { readonly kind: "valid"; readonly url: URL }
  | { readonly kind: "refused"; readonly refused: Refused };

/** Checks path, method, headers and query of an upgrade request. Does not verify its token. */
export function checkUpgrade(request: IncomingMessage): CheckedUpgrade {
  const url = URL.parse(request.url ?? "/", "http://gateway");
  if (!url) return refused("400 Bad Request", "The URL cannot be parsed.");
  if (url.pathname !== SOCKET_PATH) {
    return refused("404 Not Found", `The WebSocket is at ${SOCKET_PATH}.`);
  }
  if (request.method !== "GET" || request.httpVersion !== "1.1") {
    return refused("400 Bad Request", "A WebSocket is opened by GET in HTTP/1.1.");
  }
  const fault = upgradeFault(request.headersDistinct);
  if (fault !== undefined) return refused("400 Bad Request", fault);
  if (url.searchParams.has("token") || url.searchParams.has("access_token")) {
    const text = "Do not put a token into a URL, which logs record: send it in the Hello frame.";
    return refused("400 Bad Request", text);
  }
  return { kind: "valid", url };
}

function refused(status: string, text: string): CheckedUpgrade {
  return { kind: "refused", refused: { status, text } };
}
