import { setTimeout as pause } from "node:timers/promises";
import type { System } from "../system/system.ts";
import { stopAutovacuum, withTables } from "../system/tables.ts";

/** Time for batches that linger, and for reports of sessions that opened. */
const LINGER_MS = 5_000;
const CHECKPOINT_MS = 1_000;

/** Waits until the work that earlier load left behind is done, so that it is not measured. */
export async function settle({ postgresUrl }: System): Promise<void> {
  await pause(LINGER_MS);
  await withTables(postgresUrl, async ({ pool }) => {
    await stopAutovacuum(pool);
    await pool.query("CHECKPOINT");
  });
  await pause(CHECKPOINT_MS);
}
