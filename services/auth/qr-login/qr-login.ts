import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Accounts } from "../accounts/accounts.ts";
import type { AuthConfig } from "../config.ts";
import type { ProvenChanges } from "../credentials/proven-changes.ts";
import type { Database } from "../database.ts";
import type { Issuer } from "../logins/issuer.ts";
import type { SecurityNotices } from "../notices/security-notices.ts";
import { createQrApproval, type QrApprovalMethods } from "./qr-approval.ts";
import { createQrDelivery } from "./qr-delivery.ts";
import { createQrKeeping } from "./qr-keeping.ts";
import { createQrRequests, type QrRequestMethods } from "./qr-requests.ts";
import { createQrRows } from "./qr-rows.ts";
import { createQrWatches } from "./qr-watches.ts";

interface Dependencies {
  accounts: Accounts;
  clock: Clock;
  config: Pick<AuthConfig, "maxQrWatches" | "qrLoginSeconds" | "qrWatchMs">;
  database: Database;
  issuer: Issuer;
  log: Log;
  metrics: Metrics;
  notices: SecurityNotices;
  provenChanges: ProvenChanges;
}

/** Logs a device in: it shows a QR code, and a phone that is logged in scans and confirms it. */
export function createQrLogins(
  d: Dependencies,
): Pick<ServiceImpl<typeof AuthService>, QrRequestMethods | QrApprovalMethods | "keepQrLogin"> {
  const rows = createQrRows(d);
  const watches = createQrWatches({ ...d, rows });
  const delivery = createQrDelivery({ ...d, rows });
  return {
    ...createQrRequests({ ...d, rows, watches, delivery }),
    ...createQrApproval({ ...d, rows }),
    ...createQrKeeping(d),
  };
}
