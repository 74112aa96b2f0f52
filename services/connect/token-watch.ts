import { create, toBinary } from "@bufbuild/protobuf";
import { CloseCode, ServerFrameSchema } from "../../gen/lucky/frame/v1/frame_pb.js";
import type { UserCaller } from "../../platform/caller.ts";
import { textOf } from "./hello.ts";
import type { Session } from "./session.ts";

/** Announces the end of a session's access token, and ends the session with it. */
export class TokenWatch {
  readonly #noticeMs: number;
  /** The end that each session was told of last: a renewed token has another one. */
  readonly #told = new WeakMap<Session, number>();

  constructor({ tokenExpiringMs }: { readonly tokenExpiringMs: number }) {
    this.#noticeMs = tokenExpiringMs;
  }

  /** Looks at an open session; call it every second or so. False when the session was ended. */
  look(session: Session, { expiresAtMs }: UserCaller, nowMs: number): boolean {
    if (nowMs >= expiresAtMs) {
      session.end(CloseCode.TOKEN_EXPIRED, textOf(CloseCode.TOKEN_EXPIRED));
      return false;
    }
    const due = expiresAtMs - nowMs <= this.#noticeMs && this.#told.get(session) !== expiresAtMs;
    // A device that does not read now is told when it does.
    if (due && session.offer(tokenExpiringFrame(expiresAtMs), nowMs)) {
      this.#told.set(session, expiresAtMs);
    }
    return true;
  }
}

function tokenExpiringFrame(expiresAtMs: number): Uint8Array {
  const value = { expiresAtMs: BigInt(expiresAtMs) };
  const frame = create(ServerFrameSchema, { kind: { case: "tokenExpiring", value } });
  return toBinary(ServerFrameSchema, frame);
}
