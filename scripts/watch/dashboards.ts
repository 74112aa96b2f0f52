import { DashboardBuilder, RowBuilder } from "@grafana/grafana-foundation-sdk/dashboard";
import { calls } from "./calls.ts";
import { messages } from "./messages.ts";
import { builderOf, type Dashboard } from "./panels.ts";
import { resources } from "./resources.ts";
import { sessions } from "./sessions.ts";

/** All dashboards. */
export const DASHBOARDS: readonly Dashboard[] = [calls, messages, sessions, resources];

/** A dashboard as the JSON that Grafana loads. */
export function grafanaJson({ name, title, rows }: Dashboard): string {
  const builder = new DashboardBuilder(title)
    .uid(name)
    .tags(["lucky"])
    .refresh("30s")
    .time({ from: "now-1h", to: "now" })
    .timezone("browser")
    .readonly();
  for (const [row, panels] of Object.entries(rows)) {
    builder.withRow(new RowBuilder(row));
    for (const panel of panels) builder.withPanel(builderOf(panel));
  }
  return `${JSON.stringify(builder.build(), null, 2)}\n`;
}
