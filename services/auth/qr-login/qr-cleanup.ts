import type { Clock } from "#platform/clock.ts";
import type { Database } from "../database.ts";
import { createQrRows } from "./qr-rows.ts";

/**
 * Retention after expiry, ms: until then a device that polls late gets EXPIRED or STEP, not
 * NOT_FOUND.
 */
const RETENTION_MS = 3_600_000;

/** Deletes QR logins that expired longer ago than the retention. */
export async function deleteExpiredQrLogins(d: {
  clock: Clock;
  database: Database;
}): Promise<void> {
  await createQrRows(d).deleteBefore(d.clock.now() - RETENTION_MS);
}
