import { VizLegendOptionsBuilder } from "@grafana/grafana-foundation-sdk/common";
import { DataqueryBuilder } from "@grafana/grafana-foundation-sdk/prometheus";
import { PanelBuilder } from "@grafana/grafana-foundation-sdk/timeseries";

/** Unit of a panel's axis, as Grafana names it. */
export type Unit = "short" | "ops" | "reqps" | "s" | "bytes" | "percentunit";

/** A panel with curves over time. */
export interface Panel {
  readonly title: string;
  /** Meaning of the curves, and the alert that watches them. */
  readonly description: string;
  readonly unit: Unit;
  /** By legend, such as "{{instance}}": an expression of PromQL. */
  readonly curves: Readonly<Record<string, string>>;
}

/** A dashboard: rows of panels. */
export interface Dashboard {
  /** File name without ".json", and id in links. */
  readonly name: string;
  readonly title: string;
  readonly rows: Readonly<Record<string, readonly Panel[]>>;
}

/** Width of a panel in the grid of Grafana, which is 24 wide. */
const PANEL_WIDTH = 8;
const PANEL_HEIGHT = 8;

/** Expression of the per-second increase of a counter, summed by labels. */
export function perSecond(selector: string, by: readonly string[] = []): string {
  return sum(`rate(${selector}[$__rate_interval])`, by);
}

/** Expression of a sum by labels. */
export function sum(expression: string, by: readonly string[] = []): string {
  return by.length === 0 ? `sum(${expression})` : `sum by (${by.join(", ")}) (${expression})`;
}

/** Expression of a quantile of a histogram, such as 0.99, by labels. */
export function quantile(share: number, name: string, by: readonly string[] = []): string {
  return `histogram_quantile(${share}, ${perSecond(`${name}_bucket`, ["le", ...by])})`;
}

/** The curves of the median and of the 99th percentile of a histogram. */
export function durations(name: string): Record<string, string> {
  return { p50: quantile(0.5, name), p99: quantile(0.99, name) };
}

/** Expression of the average of a histogram. */
export function average(name: string): string {
  return `${perSecond(`${name}_sum`)} / ${perSecond(`${name}_count`)}`;
}

/** Builds Grafana's panel. */
export function builderOf({ title, description, unit, curves }: Panel): PanelBuilder {
  const panel = new PanelBuilder()
    .title(title)
    .description(description)
    .unit(unit)
    .min(0)
    .fillOpacity(10)
    .legend(new VizLegendOptionsBuilder().showLegend(true))
    .height(PANEL_HEIGHT)
    .span(PANEL_WIDTH);
  for (const [at, [legend, expression]] of Object.entries(curves).entries())
    panel.withTarget(
      new DataqueryBuilder()
        .refId(String.fromCharCode(65 + at))
        .expr(expression)
        .legendFormat(legend),
    );
  return panel;
}
