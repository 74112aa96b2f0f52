import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { type Rpc, type RpcError, RpcErrorSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Clock } from "#platform/clock.ts";
import { detailOf, fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { MethodTable } from "#platform/rpc/calling/method-table.ts";
import { toPublicError } from "#platform/rpc/interceptors/public-error.ts";
import { PEER_HEADER } from "#platform/rpc/peer.ts";
import { type Traces, traceHeaders } from "#platform/tracing/traces.ts";
import { MAX_RESPONSE_BYTES, rpcResultFrame } from "../socket/frames.ts";
import type { Session } from "../socket/session.ts";
import { RETRY_AFTER_MS } from "./retry-after.ts";

export interface CallsOptions {
  methods: MethodTable;
  clock: Clock;
  log: Log;
  /** Absent: no call is traced. */
  traces?: Traces | undefined;
  config: { readonly callsInFlight: number; readonly callTimeoutMs: number };
}

/** A call of a device; `traceparent` is the context of its trace, empty for none. */
interface DeviceCall {
  readonly rpc: Rpc;
  readonly traceparent: string;
}

const FRAME = "lucky.frame.v1.Rpc";

/**
 * Calls a public method as the user of the session and sends the result to the device. A session
 * with too many calls in flight gets OVERLOADED, a closed one gets no answer. Never rejects.
 */
export async function answerCall(
  { clock, config, methods, log, traces }: CallsOptions,
  session: Session,
  { rpc: { callId, method, request }, traceparent }: DeviceCall,
): Promise<void> {
  if (session.callsInFlight >= config.callsInFlight) {
    const error = fail(ErrorReason.OVERLOADED, "too many calls at once", {
      retryAfterMs: RETRY_AFTER_MS,
    });
    session.sendRequired(rpcResultFrame(callId, rpcError(error)));
    return;
  }
  session.callsInFlight += 1;
  const stop = new AbortController();
  const abort = () => stop.abort(new ConnectError("the session has closed", Code.Canceled));
  session.ended.addEventListener("abort", abort, { once: true });
  const timer = clock.after(config.callTimeoutMs, () =>
    stop.abort(new ConnectError("the call timed out", Code.DeadlineExceeded)),
  );
  const parent = traces?.sample(traceparent);
  // The device chose the method's name, which is unchecked here: only the span of server has it.
  const span =
    parent === undefined ? undefined : traces!.start(parent, { name: FRAME, kind: "server" });
  let outcome: Uint8Array | RpcError;
  try {
    const { caller } = session;
    const headers = new Headers({ authorization: `Bearer ${caller?.token}` });
    headers.set(PEER_HEADER, session.socket.peer);
    if (span !== undefined)
      for (const header of Object.entries(traceHeaders(span))) headers.set(...header);
    outcome = await methods.call(method, request, headers, stop.signal, caller);
    if (outcome.length > MAX_RESPONSE_BYTES) {
      // A method whose answer has no bound: the frame would break max_server_frame_bytes.
      throw new Error(`the answer has ${outcome.length} bytes, more than ${MAX_RESPONSE_BYTES}`);
    }
    span?.end();
  } catch (error) {
    span?.end(error);
    if (!(error instanceof ConnectError))
      log.error({ event: "rpc_fault", method, trace_id: span?.traceId, err: error });
    outcome = rpcError(toPublicError(error, stop.signal));
  } finally {
    timer.stop();
    session.ended.removeEventListener("abort", abort);
    session.callsInFlight -= 1;
  }
  if (session.isOpen) session.sendRequired(rpcResultFrame(callId, outcome));
}

function rpcError(error: ConnectError): RpcError {
  const { code, rawMessage: text } = error;
  return create(RpcErrorSchema, { code, text, error: detailOf(error)! });
}
