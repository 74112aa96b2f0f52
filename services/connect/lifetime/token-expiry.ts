import { create, toBinary } from "@bufbuild/protobuf";
import { CloseCode, ServerFrameSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import type { UserCaller } from "#platform/identity/caller.ts";
import type { Revocations } from "#platform/identity/revocations.ts";
import { closeTextOf } from "../socket/close-codes.ts";
import type { Session } from "../socket/session.ts";

/** Parameters of one round of token checks, shared by all sessions. */
export interface TokenCheck {
  /** Elapsed milliseconds. */
  readonly nowMs: number;
  /** The time of day, by which tokens expire, milliseconds since the Unix epoch. */
  readonly dateMs: number;
  /** Time before the expiry of a token at which TokenExpiring is sent, ms. */
  readonly noticeMs: number;
  readonly revocations: Pick<Revocations, "keyState">;
}

/**
 * Checks the access token of an open session: announces its expiry once, and ends the session when
 * it has expired. When the time of day steps beyond the expiry, the session lasts for the time that was
 * left before the step, but at most for the notice time after the notice: the device can renew its
 * token. A token also expires when its key is withdrawn: a legitimate device gets a new token and
 * reconnects. Returns false when the session was ended.
 */
export function checkToken(
  session: Session,
  { expiresAtMs, keyId }: UserCaller,
  { nowMs, dateMs, noticeMs, revocations }: TokenCheck,
): boolean {
  const leftMs = expiresAtMs - dateMs;
  // Each later round computes a later time, so the first round of the notice counts.
  if (leftMs <= noticeMs) session.tokenEndsAtMs = Math.min(session.tokenEndsAtMs, nowMs + noticeMs);
  const expired = leftMs <= 0 && nowMs >= session.tokenEndsAtMs;
  if (expired || revocations.keyState(keyId) === "withdrawn") {
    session.end(CloseCode.TOKEN_EXPIRED, closeTextOf(CloseCode.TOKEN_EXPIRED));
    return false;
  }
  const due = leftMs <= noticeMs && !session.expiryAnnounced;
  // When a slow reader does not take the frame, the next check retries.
  if (due && session.sendOptional(tokenExpiringFrame(expiresAtMs), nowMs)) {
    session.expiryAnnounced = true;
  }
  return true;
}

function tokenExpiringFrame(expiresAtMs: number): Uint8Array {
  const value = { expiresAtMs: BigInt(expiresAtMs) };
  const frame = create(ServerFrameSchema, { kind: { case: "tokenExpiring", value } });
  return toBinary(ServerFrameSchema, frame);
}
