import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Clock } from "#platform/clock.ts";
import { moveFrame } from "../socket/frames.ts";
import type { Sessions } from "../socket/sessions.ts";

export interface DrainOptions {
  sessions: Sessions;
  clock: Clock;
  config: { readonly moveSpreadMs: number; readonly drainMs: number };
  /** Whether no work of sessions is in flight. */
  idle: () => boolean;
}

const POLL_INTERVAL_MS = 50;

/**
 * Drains a stopping instance: sends Move to every session, with reconnects spread over
 * `moveSpreadMs`, waits at most `drainMs` for sessions to leave and for work in flight, and closes
 * the sessions that are left.
 */
export async function drain({ sessions, clock, config, idle }: DrainOptions): Promise<void> {
  const untilMs = clock.elapsed() + config.drainMs;
  let index = 0;
  const count = sessions.size;
  for (const session of sessions.all()) {
    const afterMs = Math.floor((config.moveSpreadMs * index) / count);
    if (session.isOpen) session.sendRequired(moveFrame(afterMs));
    index += 1;
  }
  while ((sessions.size > 0 || !idle()) && clock.elapsed() < untilMs) {
    await new Promise<void>((resolve) => clock.after(POLL_INTERVAL_MS, resolve));
  }
  for (const session of [...sessions.all()]) session.end(CloseCode.MOVE, "the instance stops");
}
