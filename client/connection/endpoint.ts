import type { Client } from "@connectrpc/connect";
import type { EndpointService } from "../../gen/lucky/frame/v1/frame_pb.js";
import { LuckyError } from "../error.ts";
import { afterFailure } from "./next-step.ts";

/**
 * Resolves the URL of the WebSocket; falls back to /ws on `address` when the call fails. Throws when
 * the login is over.
 */
export async function resolveSocketUrl(
  endpoints: Client<typeof EndpointService>,
  address: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  let path = "/ws";
  try {
    path = (await endpoints.resolveEndpoint({}, { signal })).url;
  } catch (error) {
    if (afterFailure(LuckyError.from(error)).kind === "stop") throw error;
  }
  const url = new URL(path, address);
  url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}
