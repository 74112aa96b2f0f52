import type { FlagsOf, FlagTable } from "../command/flags.ts";
import { type Report, rounded } from "../command/report.ts";
import { readMachine } from "../machine/machine.ts";
import type { Bench } from "../runs/bench.ts";
import { ACKNOWLEDGE_MS, generatorFlags } from "../runs/generators.ts";
import type { Run } from "../runs/run.ts";
import { scenario } from "../runs/scenario.ts";
import { runUserPairs, usersInPairs } from "../runs/user-pairs.ts";
import { prefill } from "../system/prefill.ts";
import { addressesOf, shapeFigures, shapeFlags, shapeOf, socketFlags } from "../system/system.ts";

const declared = {
  ...shapeFlags,
  ...socketFlags,
  ...generatorFlags,
  users: { default: "400", doc: "users, in pairs" },
  window: { default: "16", doc: "messages of each user in flight" },
  seconds: { default: "10", doc: "seconds that each run is measured" },
  warmup: { default: "5", doc: "seconds of the same load before the measurement" },
  prefill: { default: "1000000", doc: "entries stored before the second run" },
  idle: { default: "10000", doc: "idle sessions during the third run" },
  rounds: { default: "1", doc: "how often all cases run, in turn; ratios compare the means" },
} satisfies FlagTable;

export default scenario({
  summary:
    "the same messages into an empty log, into a full log, with idle sessions, and into an empty log again",
  flags: declared,
  run: growth,
});

type Case = "empty" | "prefilled" | "idle";

/** The empty case comes first and last, so that a drift of the machine averages out. */
const CASE_ORDER: readonly Case[] = ["empty", "prefilled", "idle", "empty"];

async function growth(flags: FlagsOf<typeof declared>, bench: Bench): Promise<Report> {
  const machine = readMachine();
  const users = usersInPairs(flags);
  const runs: Record<Case, Run[]> = { empty: [], prefilled: [], idle: [] };
  for (let round = 0; round < flags.number("rounds"); round++) {
    for (const one of CASE_ORDER) {
      console.log(`\n${one}`);
      runs[one].push(
        await bench.withSystem(shapeOf(flags), async (system) => {
          await prefill(system, one === "prefilled" ? flags.number("prefill", 0) : 0);
          return runUserPairs({
            bench,
            system,
            machine,
            addresses: addressesOf(system, flags),
            users,
            idle: one === "idle" ? flags.number("idle", 0) : 0,
            load: { kind: "window", window: flags.number("window") },
            textBytes: 128,
            acknowledgeMs: ACKNOWLEDGE_MS,
            seconds: flags.number("seconds", 0.1),
            warmupS: flags.number("warmup", 0),
            generators: flags.number("generators"),
          });
        }),
      );
    }
  }
  const perS = (one: Case) =>
    runs[one].reduce((sum, { deliveredPerS }) => sum + deliveredPerS, 0) / runs[one].length;
  return {
    figures: {
      ...shapeFigures(shapeOf(flags)),
      prefilled: flags.number("prefill", 0),
      idle: flags.number("idle", 0),
      empty_per_s: rounded(perS("empty"), 0),
      prefilled_per_s: rounded(perS("prefilled"), 0),
      idle_per_s: rounded(perS("idle"), 0),
      ratio_prefilled: rounded(perS("prefilled") / perS("empty"), 2),
      ratio_idle: rounded(perS("idle") / perS("empty"), 2),
      all_per_s: Object.fromEntries(
        Object.entries(runs).map(([name, list]) => [
          name,
          list.map(({ deliveredPerS }) => rounded(deliveredPerS, 0)),
        ]),
      ),
      machine,
    },
    faults: Object.entries(runs).flatMap(([name, list]) =>
      list.flatMap(({ faults }) => faults.map((fault) => `${name}: ${fault}`)),
    ),
    limitedBy: Object.values(runs)
      .flat()
      .find(({ limitedBy }) => limitedBy !== undefined)?.limitedBy,
  };
}
