import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Clock } from "#platform/clock.ts";
import { moveFrame } from "../socket/frames.ts";
import type { Sessions } from "../socket/sessions.ts";

export interface DrainOptions {
  sessions: Sessions;
  clock: Clock;
  config: { readonly moveSpreadMs: number; readonly drainMs: number };
  /** Whether everything that sessions asked for has been answered. */
  idle: () => boolean;
}

const LOOK_MS = 50;

/**
 * Tells every session to move, spread out in time, waits for them to go and for what is on its way,
 * no longer than `drainMs`, and closes those that stayed.
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
    await new Promise<void>((resolve) => clock.after(LOOK_MS, resolve));
  }
  for (const session of [...sessions.all()]) session.end(CloseCode.MOVE, "the instance stops");
}
