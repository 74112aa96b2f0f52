import type { AuthDependencies } from "../dependencies.ts";
import { createQrRows } from "./qr-rows.ts";

/** For so long a device that comes late reads EXPIRED or STEP rather than NOT_FOUND. */
const RETENTION_MS = 3_600_000;

/** Deletes QR logins that are long over. */
export async function cleanUpQrLogins(
  d: Pick<AuthDependencies, "clock" | "database">,
): Promise<void> {
  await createQrRows(d).deleteBefore(d.clock.now() - RETENTION_MS);
}
