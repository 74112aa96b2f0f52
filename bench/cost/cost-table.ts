import { type Figures, rounded } from "../command/report.ts";
import type { Costs } from "./costs.ts";

const DIGITS = 2;

/** The costs as figures of a report: µs per unit, by process and in sum. */
export function costFigures(costs: Costs): Figures {
  return Object.fromEntries(
    [...costs].map(([name, { per, count, us }]) => [
      name,
      {
        per,
        count: rounded(count, 0),
        us: Object.fromEntries(
          Object.entries({ ...us, sum: sumOf(us) }).map(([key, one]) => [
            key,
            rounded(one, DIGITS),
          ]),
        ),
      },
    ]),
  );
}

/** The table of docs/capacity.md, in Markdown: µs of CPU per unit. */
export function costTable(costs: Costs): string {
  const processes = [...new Set([...costs.values()].flatMap(({ us }) => Object.keys(us)))];
  const columns = ["cost", "per", "measured", ...processes, "sum"];
  const rows = [...costs].map(([name, { per, count, us }]) => [
    name,
    per,
    rounded(count, 0),
    ...processes.map((process) => rounded(us[process] ?? 0, DIGITS)),
    rounded(sumOf(us), DIGITS),
  ]);
  return [columns, columns.map(() => "---"), ...rows]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n");
}

const sumOf = (us: Readonly<Record<string, number>>) =>
  Object.values(us).reduce((sum, one) => sum + one, 0);
