import type { AccountReport } from "./load-messages.ts";
import type { ScenarioReport } from "./scenario.ts";

const GAP_TARGET_MS = 2_000;
const RECONNECT_TARGET_MS = 3_000;

/** Prints one line for each change, the account, and which targets were missed. */
export function printReports(reports: readonly ScenarioReport[], account: AccountReport): void {
  const columns = [
    "change",
    "s",
    "messages",
    "longest gap",
    "send p50 / p99 / max",
    "reconnects",
    "p99 / max",
  ];
  const rows = reports.map((one) => [
    one.name,
    `${one.seconds}`,
    `${one.accepted}`,
    `${one.longestGapMs} ms${one.planned && one.longestGapMs > GAP_TARGET_MS ? " !" : ""}`,
    `${one.sendP50Ms} / ${one.sendP99Ms} / ${one.sendMaxMs} ms`,
    `${one.reconnects}`,
    `${one.reconnectP99Ms} / ${one.reconnectMaxMs} ms${one.reconnectP99Ms > RECONNECT_TARGET_MS ? " !" : ""}`,
  ]);
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  console.log([line(columns), line(columns.map(() => "---")), ...rows.map(line)].join("\n"));
  console.log(
    `Targets: no gap above ${GAP_TARGET_MS} ms in planned changes, reconnects within ${RECONNECT_TARGET_MS} ms (p99); ! marks a missed one.`,
  );
  const { sent, accepted, lost, duplicated, reordered, refused, findings } = account;
  console.log(
    `${sent} messages sent, ${accepted} accepted, ${lost} lost, ${duplicated} duplicated, ${reordered} out of order`,
  );
  for (const text of [...refused, ...findings]) console.log(`  ${text}`);
}
