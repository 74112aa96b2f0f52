import { create, toBinary } from "@bufbuild/protobuf";
import { CloseCode, ServerFrameSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import type { UserCaller } from "#platform/identity/caller.ts";
import type { Revocations } from "#platform/identity/revocations.ts";
import { closeTextOf } from "../opening/session-opener.ts";
import type { Session } from "../socket/session.ts";

export interface TokenWatchOptions {
  readonly config: { readonly tokenExpiringMs: number };
  readonly revocations: Pick<Revocations, "keyState">;
}

/**
 * Announces the end of a session's access token, and ends the session with it. A token ends early
 * when its key is withdrawn: a device that was let in rightly gets another one and comes back.
 */
export class TokenWatch {
  readonly #noticeMs: number;
  readonly #revocations: Pick<Revocations, "keyState">;

  constructor({ config, revocations }: TokenWatchOptions) {
    this.#noticeMs = config.tokenExpiringMs;
    this.#revocations = revocations;
  }

  /** Looks at an open session; call it every second or so. False when the session was ended. */
  look(session: Session, { expiresAtMs, keyId }: UserCaller, nowMs: number): boolean {
    if (nowMs >= expiresAtMs || this.#revocations.keyState(keyId) === "withdrawn") {
      session.end(CloseCode.TOKEN_EXPIRED, closeTextOf(CloseCode.TOKEN_EXPIRED));
      return false;
    }
    const due = expiresAtMs - nowMs <= this.#noticeMs && !session.expiryAnnounced;
    // A device that does not read now is told when it does.
    if (due && session.sendOptional(tokenExpiringFrame(expiresAtMs), nowMs))
      session.expiryAnnounced = true;
    return true;
  }
}

function tokenExpiringFrame(expiresAtMs: number): Uint8Array {
  const value = { expiresAtMs: BigInt(expiresAtMs) };
  const frame = create(ServerFrameSchema, { kind: { case: "tokenExpiring", value } });
  return toBinary(ServerFrameSchema, frame);
}
