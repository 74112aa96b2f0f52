import { fromBinary } from "@bufbuild/protobuf";
import { ErrorDetailSchema, ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { type Answer, type Call, HttpCaller } from "../../system/http-caller.ts";
import { keepDoing } from "./loops.ts";
import type { Target } from "./target.ts";

/** Repeats a call over one connection after another, without a pause, until the signal aborts. */
export function keepPosting(
  target: Target,
  signal: AbortSignal,
  call: Omit<Call, "url" | "socket">,
): Promise<void> {
  return keepDoing(target, signal, async () => {
    const caller = new HttpCaller({ ...call, url: target.url, socket: target.connect() });
    try {
      while (!signal.aborted) {
        target.tally.add("requests");
        const answer = await caller.exchange();
        target.tally.answered(labelOf(answer));
        if (answer.last) return;
      }
    } finally {
      caller.close();
    }
  });
}

/** Status of an answer, with the reason of the contract or else the code of Connect. */
export function labelOf({ status, body }: Answer): string {
  if (status === 200) return "200";
  const text = body.toString("latin1");
  const detail = /"value":"([A-Za-z0-9+/]+)/.exec(text)?.[1];
  if (detail !== undefined) {
    const { reason } = fromBinary(ErrorDetailSchema, Buffer.from(detail, "base64"));
    return `${status} ${ErrorReason[reason]}`;
  }
  const code = /"code":"(\w+)"/.exec(text)?.[1];
  return code === undefined ? String(status) : `${status} ${code}`;
}
