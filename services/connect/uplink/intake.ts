import { fromBinary } from "@bufbuild/protobuf";
import { CloseCode, HelloSchema, RenewSchema, RpcSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { AcknowledgeRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { SendTypingRequestSchema } from "#gen/lucky/presence/v1/presence_pb.js";
import type { UserCaller } from "#platform/identity/caller.ts";
import type { Metrics, Tally } from "#platform/metrics.ts";
import { MAX_FIELDS } from "#platform/validation/field-count.ts";
import type { SessionOpener } from "../opening/session-opener.ts";
import {
  type ClientKind,
  heartbeatFrame,
  readTraceparent,
  unwrapClientFrame,
} from "../socket/frames.ts";
import type { Session } from "../socket/session.ts";
import type { Acknowledgements } from "./acknowledgements.ts";
import { answerCall, type CallsOptions } from "./calls.ts";
import { fieldsOf } from "./frame-fields.ts";
import type { TypingSignals } from "./typing-signals.ts";
import type { Uplinks } from "./uplink.ts";

export interface IntakeOptions extends CallsOptions {
  opener: SessionOpener;
  uplink: Uplinks;
  acknowledgements: Acknowledgements;
  typing: TypingSignals;
  metrics: Metrics;
  config: CallsOptions["config"] & {
    readonly maxFrameBytes: number;
    readonly framesBurst: number;
  };
}

/** Rate limit: a frame counts as one more frame per this many bytes, and per this many fields. */
const BYTES_PER_FRAME = 16_384;
const FIELDS_PER_FRAME = 40;

/** Checks the frames of devices against the limits and dispatches them by kind. */
export class Intake {
  readonly #options: IntakeOptions;
  readonly #count: (kind: ClientKind) => void;
  readonly #heartbeat = heartbeatFrame();

  constructor(options: IntakeOptions) {
    this.#options = options;
    const frames = options.metrics.counter(
      "lucky_frames_in_total",
      "Frames from devices, by kind.",
      ["kind"],
    );
    const byKind = new Map<ClientKind, Tally>();
    this.#count = (kind) => {
      let tally = byKind.get(kind);
      if (!tally) {
        tally = options.metrics.tally(frames, { kind });
        byKind.set(kind, tally);
      }
      tally.add();
    };
  }

  /**
   * Dispatches one frame; `bytes` is valid only during the call. An invalid frame, or one above the
   * rate limit, closes the session.
   */
  take(session: Session, bytes: Uint8Array): void {
    const { clock, config } = this.#options;
    const nowMs = clock.elapsed();
    session.lastFrameAtMs = nowMs;
    if (bytes.length > config.maxFrameBytes) {
      session.end(CloseCode.FRAME_TOO_LARGE, `a frame has at most ${config.maxFrameBytes} bytes`);
    } else if (this.#charge(session, 1 + Math.floor(bytes.length / BYTES_PER_FRAME), nowMs)) {
      const wrong = this.#dispatch(session, bytes);
      if (wrong !== undefined) session.end(CloseCode.PROTOCOL_ERROR, wrong);
    }
  }

  /** Takes the weight from the user's budget. When too little is left, ends the session: false. */
  #charge(session: Session, weight: number, nowMs: number): boolean {
    const { frames } = session;
    if (frames.take(Math.min(frames.burst, weight), nowMs)) return true;
    session.end(CloseCode.RATE_LIMITED, "too many frames a second");
    return false;
  }

  /** Returns the protocol error of the frame, if there is one. */
  #dispatch(session: Session, bytes: Uint8Array): string | undefined {
    const { state } = session;
    try {
      const { kind, body } = unwrapClientFrame(bytes);
      this.#count(kind);
      const fields = fieldsOf(kind, body);
      // Server refuses such a send, with a result.
      if (fields > MAX_FIELDS && kind !== "send") return `a frame has at most ${MAX_FIELDS} fields`;
      const more = Math.floor(fields / FIELDS_PER_FRAME);
      if (more > 0 && !this.#charge(session, more, session.lastFrameAtMs)) return undefined;
      switch (state.kind) {
        case "greeting":
          if (kind !== "hello") return "Hello must be the first frame";
          void this.#options.opener.hello(session, fromBinary(HelloSchema, body));
          return undefined;
        case "opening":
          return kind === "heartbeat" || kind === "unknown"
            ? undefined
            : "no other frame may be sent before Welcome";
        case "open":
          return this.#dispatchOpen(session, state.caller, kind, body, bytes);
        case "closed":
          return undefined;
      }
    } catch {
      return "the frame is malformed";
    }
  }

  /** Returns the protocol error of a frame of an open session, if there is one; `bytes` is the frame. */
  #dispatchOpen(
    session: Session,
    caller: UserCaller,
    kind: ClientKind,
    body: Uint8Array,
    bytes: Uint8Array,
  ): string | undefined {
    const { acknowledgements, opener, typing, uplink } = this.#options;
    switch (kind) {
      case "hello":
        return "Hello may be sent only once";
      case "send":
        uplink.take(session, caller.userId, body, this.#traceparent(bytes, body));
        return undefined;
      case "acknowledge": {
        const { cursors } = fromBinary(AcknowledgeRequestSchema, body);
        return acknowledgements.take(session, caller.userId, cursors);
      }
      case "typing": {
        const { conversationId, typing: types } = fromBinary(SendTypingRequestSchema, body);
        if (conversationId.startsWith("-") || conversationId === "0") {
          return "conversation_id: must be greater than 0";
        }
        typing.take(caller.userId, conversationId, types);
        return undefined;
      }
      case "rpc":
        // The body is copied: the call outlives the frame's bytes.
        void answerCall(this.#options, session, {
          rpc: fromBinary(RpcSchema, Buffer.from(body)),
          traceparent: this.#traceparent(bytes, body),
        });
        return undefined;
      case "heartbeat":
        // The result is ignored: a device whose socket is full gets queued frames when it reads.
        session.socket.send(this.#heartbeat);
        return undefined;
      case "renew":
        void opener.renew(session, fromBinary(RenewSchema, body).accessToken);
        return undefined;
      case "unknown":
        return undefined;
    }
  }

  /** The context of the device's trace; empty for none, and while nothing is traced. */
  #traceparent(bytes: Uint8Array, body: Uint8Array): string {
    return this.#options.traces === undefined ? "" : readTraceparent(bytes, body);
  }
}
