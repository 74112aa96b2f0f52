import type { TallyFigures } from "../attacker/target/tally.ts";
import type { MemoryFigures } from "../machine/memory-watch.ts";
import type { AttackFigures } from "./attack-figures.ts";

/** Marks figures that break a bound. */
const MARK = " (!)";
/** Answers that a row shows. */
const MAX_ANSWERS = 4;

const COLUMNS = [
  "attack",
  "acknowledged p50 / p99 / max ms",
  "delivered p50 / p99 / max ms",
  "GetUser p50 / p99 / max ms",
  "after it: delivered p50 / p99 / max ms",
  "slow for s",
  "MiB start / most / after",
  "CPU s server / attacker",
  "newcomers p50 / max ms",
  "lost, errors",
  "answers to the attacker",
];

/** The table of docs/performance.md, in Markdown. Figures that break a bound are marked. */
export function attackTable(results: ReadonlyMap<string, AttackFigures>): string {
  const rows = [...results].map(([name, result]) => row(name, result));
  return [COLUMNS, COLUMNS.map(() => "---"), ...rows]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n");
}

function row(attack: string, { figures, broken }: AttackFigures): string[] {
  const one = (name: string) => `${figures[name] ?? "–"}${broken.has(name) ? MARK : ""}`;
  const three = (name: string) => ["p50", "p99", "max"].map((part) => one(`${name}_${part}_ms`));
  const recovered = broken.has("delivered_recovered_p99_ms") ? MARK : "";
  const memory = Object.entries(figures.memory_mib as Record<string, MemoryFigures>).map(
    ([process, { first, most, last }]) =>
      `${process} ${first} / ${most} / ${last}${broken.has(`memory ${process}`) ? MARK : ""}`,
  );
  const { attacker = 0 } = figures.cpu_s as Record<string, number>;
  const errors = [...broken.keys()].filter((name) => name.includes("errors: "));
  return [
    attack,
    three("acknowledged").join(" / "),
    three("delivered").join(" / "),
    three("get_user").join(" / "),
    `${three("delivered_after").join(" / ")}${recovered}`,
    one("slow_for_s"),
    memory.join(", "),
    `${figures.server_cpu_s} / ${attacker}`,
    `${one("newcomer_p50_ms")} / ${one("newcomer_max_ms")}`,
    [one("lost"), ...errors.map((name) => `${name}${MARK}`)].join(", "),
    answersOf(figures.attacker as TallyFigures),
  ];
}

/** The most frequent answers and failures. */
function answersOf({ answers, failures }: TallyFigures): string {
  return Object.entries({ ...answers, ...failures })
    .sort(([, a], [, b]) => b - a)
    .slice(0, MAX_ANSWERS)
    .map(([label, count]) => `${label} × ${count}`)
    .join(", ");
}
