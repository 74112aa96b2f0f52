import { ID_END_MS, ID_EPOCH_MS, type IdWindow } from "./ids.ts";

/** All times of a worker number, for ids that need no lease. */
export function allTimesOf(worker: number): () => IdWindow {
  const window = { worker, fromMs: ID_EPOCH_MS, untilMs: ID_END_MS };
  return () => window;
}
