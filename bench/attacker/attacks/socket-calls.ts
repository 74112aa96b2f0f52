import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { SlowReader } from "../../../test/devices/slow-reader.ts";
import { keepDoing, pause } from "../target/loops.ts";
import type { Target } from "../target/target.ts";

/** Calls in flight that connect allows by default. */
const IN_FLIGHT = 8;
/** Interval of calls, ms: below the default 200 frames a second, beyond which connect closes a session. */
const INTERVAL_MS = 6;
/** Pause before a session that the server closed is replaced, ms. */
const REPLACE_MS = 1_000;

export interface SocketCalls {
  readonly token: string;
  /** "package.Service/Method" */
  readonly method: string;
  /** The encoded request of each call. */
  readonly request: () => Uint8Array;
}

/** Repeats a call over the sockets of one session after another, as fast as the server answers, until the signal aborts. */
export function keepCalling(
  target: Target,
  signal: AbortSignal,
  calls: SocketCalls,
): Promise<void> {
  return keepDoing(target, signal, async () => {
    const device = await SlowReader.open(target.port, calls.token, target.connect());
    target.tally.add("sessions");
    try {
      await callUntilAborted({ target, signal, device, ...calls });
    } finally {
      device.socket.destroy();
      for (const { code } of device.seen("kick")) target.tally.answered(`kick ${CloseCode[code]}`);
      await pause(REPLACE_MS, signal);
    }
  });
}

interface Session extends SocketCalls {
  readonly target: Target;
  readonly signal: AbortSignal;
  readonly device: SlowReader;
}

/** Rejects when the socket closes. */
async function callUntilAborted({ target, signal, device, method, request }: Session) {
  const { tally } = target;
  let calls = 0;
  const call = () => {
    tally.add("calls");
    calls += 1;
    const value = { callId: String(calls), method, request: request() };
    device.send({ case: "rpc", value });
  };
  for (let nth = 0; nth < IN_FLIGHT; nth++) call();
  let dueMs = performance.now();
  while (!signal.aborted) {
    const { outcome } = await device.next("rpcResult");
    const reason = outcome.case === "error" ? outcome.value.error?.reason : undefined;
    tally.answered(outcome.case === "response" ? "done" : (ErrorReason[reason ?? 0] ?? "unknown"));
    dueMs = Math.max(dueMs + INTERVAL_MS, performance.now());
    const earlyMs = dueMs - performance.now();
    if (earlyMs >= 1) await pause(earlyMs, signal);
    call();
  }
}
