import { fromBinary } from "@bufbuild/protobuf";
import { CloseCode, HelloSchema, RenewSchema, RpcSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { AcknowledgeRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { SendTypingRequestSchema } from "#gen/lucky/presence/v1/presence_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { UserCaller } from "#platform/identity/caller.ts";
import type { Metrics, Tally } from "#platform/metrics.ts";
import type { SessionOpener } from "../opening/session-opener.ts";
import { type ClientKind, heartbeatFrame, unwrapClientFrame } from "../socket/frames.ts";
import type { Session } from "../socket/session.ts";
import type { Acknowledgements } from "./acknowledgements.ts";
import type { Calls } from "./calls.ts";
import type { TypingSignals } from "./typing-signals.ts";
import type { Uplinks } from "./uplink.ts";

export interface IntakeOptions {
  opener: SessionOpener;
  uplink: Uplinks;
  acknowledgements: Acknowledgements;
  typing: TypingSignals;
  calls: Calls;
  clock: Clock;
  metrics: Metrics;
  config: { readonly maxFrameBytes: number; readonly framesBurst: number };
}

/** Large frames, and acknowledgements of many conversations, count as several frames. */
const BYTES_PER_FRAME = 16_384;
const CURSORS_PER_FRAME = 10;

/** Takes the frames of devices apart and hands them to whom they concern. */
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

  /** Takes one frame; the bytes are good only during the call. A bad one closes its session. */
  take(session: Session, bytes: Uint8Array): void {
    const { clock, config } = this.#options;
    const nowMs = clock.now();
    session.lastFrameAtMs = nowMs;
    const weight = Math.min(config.framesBurst, 1 + Math.floor(bytes.length / BYTES_PER_FRAME));
    if (bytes.length > config.maxFrameBytes) {
      session.end(CloseCode.FRAME_TOO_LARGE, `a frame has at most ${config.maxFrameBytes} bytes`);
    } else if (!session.frames.take(weight, nowMs)) {
      session.end(CloseCode.RATE_LIMITED, "too many frames a second");
    } else {
      const wrong = this.#handOn(session, bytes);
      if (wrong !== undefined) session.end(CloseCode.PROTOCOL_ERROR, wrong);
    }
  }

  /** Returns what is wrong with the frame, if anything is. */
  #handOn(session: Session, bytes: Uint8Array): string | undefined {
    const { state } = session;
    try {
      const { kind, body } = unwrapClientFrame(bytes);
      this.#count(kind);
      switch (state.kind) {
        case "greeting":
          if (kind !== "hello") return "Hello comes first";
          void this.#options.opener.hello(session, fromBinary(HelloSchema, body));
          return undefined;
        case "opening":
          return kind === "heartbeat" || kind === "unknown"
            ? undefined
            : "Welcome has not come yet";
        case "open":
          return this.#open(session, state.caller, kind, body);
        case "closed":
          return undefined;
      }
    } catch {
      return "a frame could not be read";
    }
  }

  #open(
    session: Session,
    caller: UserCaller,
    kind: ClientKind,
    body: Uint8Array,
  ): string | undefined {
    const { acknowledgements, calls, clock, config, opener, typing, uplink } = this.#options;
    switch (kind) {
      case "hello":
        return "Hello comes once";
      case "send":
        uplink.take(session, caller.userId, body);
        return undefined;
      case "acknowledge": {
        const { cursors } = fromBinary(AcknowledgeRequestSchema, body);
        const weight = Math.floor(cursors.length / CURSORS_PER_FRAME);
        if (!session.frames.take(Math.min(weight, config.framesBurst), clock.now())) {
          session.end(CloseCode.RATE_LIMITED, "too many cursors a second");
          return undefined;
        }
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
        // The request outlives this call, the frame's bytes do not.
        void calls.take(session, caller.token, fromBinary(RpcSchema, Buffer.from(body)));
        return undefined;
      case "heartbeat":
        // A device whose socket is full hears from us anyway once it reads.
        session.socket.send(this.#heartbeat);
        return undefined;
      case "renew":
        void opener.renew(session, fromBinary(RenewSchema, body).accessToken);
        return undefined;
      case "unknown":
        return undefined;
    }
  }
}
