import { type AttackFigures, attackFigures } from "../abuse/attack-figures.ts";
import { attackTable } from "../abuse/attack-table.ts";
import { measureAttack } from "../abuse/measure-attack.ts";
import { attacks } from "../attacker/attacks/catalogue.ts";
import type { FlagsOf, FlagTable } from "../command/flags.ts";
import type { Report } from "../command/report.ts";
import { readMachine, readVersions } from "../machine/machine.ts";
import type { Bench } from "../runs/bench.ts";
import { scenario } from "../runs/scenario.ts";
import { shapeFigures, shapeFlags, shapeOf } from "../system/system.ts";

const declared = {
  ...shapeFlags,
  only: { default: "", doc: "only attacks whose name matches this regular expression" },
  before: { default: "5", doc: "seconds of honest traffic before each attack" },
  seconds: { default: "20", doc: "seconds of each attack" },
  after: { default: "30", doc: "seconds of honest traffic after each attack" },
} satisfies FlagTable;

/**
 * Each attack has servers of its own, with the default settings. In this scenario a message is one of the
 * canary; the attacker shares the machine, so its CPU seconds are in the report.
 */
export default scenario({
  summary: `attacks by one hostile client, while a canary and newcomers use the system: ${attacks
    .map(({ name }) => name)
    .join(", ")}`,
  flags: declared,
  run: abuse,
});

async function abuse(flags: FlagsOf<typeof declared>, bench: Bench): Promise<Report> {
  const machine = readMachine();
  const only = new RegExp(flags.text("only"));
  const selected = attacks.filter(({ name }) => only.test(name));
  if (selected.length === 0) throw new Error(`--only ${only.source} matches no attack`);
  const results = new Map<string, AttackFigures>();
  let versions = {};
  for (const attack of selected) {
    console.log(`\n${attack.name}: ${attack.summary}`);
    const shape = { ...shapeOf(flags), settings: {}, openFiles: attack.openFiles };
    await bench.withSystem(shape, async (system) => {
      versions = await readVersions({ ...system, mesh: system.mode === "mesh" });
      const measured = await measureAttack({
        attack: attack.name,
        system,
        periods: {
          before: flags.number("before"),
          during: flags.number("seconds"),
          after: flags.number("after"),
        },
        loadBegins: () => bench.loadBegins(),
      });
      results.set(attack.name, attackFigures(measured, new Set(system.processes.values())));
    });
    const { figures, broken } = results.get(attack.name)!;
    console.log(JSON.stringify({ attack: attack.name, ...figures, broken: [...broken.values()] }));
  }
  console.log(`\n${attackTable(results)}`);
  return {
    figures: {
      ...shapeFigures(shapeOf(flags)),
      seconds: flags.number("seconds"),
      attacks: Object.fromEntries([...results].map(([name, { figures }]) => [name, figures])),
      machine,
      versions,
    },
    faults: [...results].flatMap(([name, { broken }]) =>
      [...broken.values()].map((text) => `${name}: ${text}`),
    ),
    limitedBy: undefined,
  };
}
