import { type ChangeLoad, changeLoad } from "../changes/change-load.ts";
import { reactionStorm } from "../changes/reaction-storm.ts";
import type { FlagsOf, FlagTable } from "../command/flags.ts";
import type { Figures, Report } from "../command/report.ts";
import { readMachine, readVersions } from "../machine/machine.ts";
import type { Bench } from "../runs/bench.ts";
import { bottlenecksOf } from "../runs/bottleneck.ts";
import { scenario } from "../runs/scenario.ts";
import { benchSettings, type Shape, shapeFigures, shapeFlags, shapeOf } from "../system/system.ts";

const declared = {
  ...shapeFlags,
  only: { default: "", doc: "only parts whose name matches this regular expression" },
  users: { default: "100", doc: "load: users, in groups" },
  "group-size": { default: "5", doc: "load: members of each group, all of whom react" },
  messages: { default: "1000", doc: "load: messages, each of them edited and recalled" },
  "at-once": { default: "32", doc: "load: calls in flight" },
  reactions: { default: "10000", doc: "storm: reactions to one message, each of another member" },
  members: { default: "10000", doc: "storm: members of the group" },
  online: { default: "1000", doc: "storm: members with a session" },
  instances: { default: "3", doc: "storm: instances of connect" },
  "storm-seconds": { default: "45", doc: "storm: seconds over which the reactions are spread" },
} satisfies FlagTable;

const SETTINGS = {
  ...benchSettings,
  LUCKY_LIMITS_SEND_PER_SECOND: "1000000",
  // The messages of a slow run are still young enough.
  LUCKY_SERVER_RECALL_WINDOW_MS: "3600000",
};

type Part = (flags: FlagsOf<typeof declared>, bench: Bench) => Promise<Report>;

/** Parts in the order in which they run, each with servers of its own. */
const parts: Readonly<Record<string, Part>> = { load, storm };

/** In this scenario a message is a change. The calls pass through the gateway. */
export default scenario({
  summary:
    "edits, reactions and recalls a second (load), and many reactions to one message of a large group (storm)",
  flags: declared,
  run: changes,
});

async function changes(flags: FlagsOf<typeof declared>, bench: Bench): Promise<Report> {
  const machine = readMachine();
  const only = new RegExp(flags.text("only"));
  const selected = Object.entries(parts).filter(([name]) => only.test(name));
  if (selected.length === 0) throw new Error(`--only ${only.source} matches no part`);
  const reports: Record<string, Report> = {};
  for (const [name, part] of selected) {
    console.log(`\n${name}`);
    reports[name] = await part(flags, bench);
  }
  const figures: Record<string, Figures> = {};
  for (const [name, report] of Object.entries(reports)) figures[name] = report.figures;
  return {
    figures: { ...figures, machine },
    faults: Object.entries(reports).flatMap(([name, { faults }]) =>
      faults.map((fault) => `${name}: ${fault}`),
    ),
    limitedBy: bottlenecksOf(reports),
  };
}

async function load(flags: FlagsOf<typeof declared>, bench: Bench): Promise<Report> {
  const shape: Shape = { ...shapeOf(flags), settings: SETTINGS };
  const groupSize = flags.number("group-size", 2);
  const users = flags.number("users", groupSize);
  return bench.withSystem(shape, async (system) => {
    const made = await bench.makeUsers(system, users);
    const options: ChangeLoad = {
      bench,
      system,
      machine: readMachine(),
      users: made.users,
      groupSize,
      messages: flags.number("messages"),
      atOnce: flags.number("at-once"),
    };
    const report = await changeLoad(options);
    const versions = await readVersions({ ...system, mesh: system.mode === "mesh" });
    return {
      ...report,
      figures: {
        ...shapeFigures(system),
        users_origin: made.origin,
        ...report.figures,
        versions,
      },
    };
  });
}

async function storm(flags: FlagsOf<typeof declared>, bench: Bench): Promise<Report> {
  const shape: Shape = {
    mode: "mesh",
    connects: flags.number("instances"),
    servers: flags.number("servers"),
    logs: flags.number("logs"),
    settings: SETTINGS,
  };
  return bench.withSystem(shape, async (system) => {
    const members = flags.number("members", 2);
    const made = await bench.makeUsers(system, members);
    const report = await reactionStorm({
      bench,
      system,
      machine: readMachine(),
      users: made.users,
      online: flags.number("online", 0),
      reactions: flags.number("reactions"),
      seconds: flags.number("storm-seconds", 0.1),
    });
    const versions = await readVersions({ ...system, mesh: true });
    return {
      ...report,
      figures: { ...shapeFigures(system), users_origin: made.origin, ...report.figures, versions },
    };
  });
}
