import type { FlagsOf, FlagTable } from "../command/flags.ts";
import type { Figures, Report } from "../command/report.ts";
import type { CostPart } from "../cost/cost-part.ts";
import { costFigures, costTable } from "../cost/cost-table.ts";
import type { Cost } from "../cost/costs.ts";
import { directCursors, groupCursors } from "../cost/cursor-costs.ts";
import { historyCosts } from "../cost/history-costs.ts";
import { logCosts } from "../cost/log-costs.ts";
import { directAtFullLoad, directAtRate, groupMessages } from "../cost/message-costs.ts";
import { sessionCosts, TALKERS } from "../cost/session-costs.ts";
import { readSessionSizes } from "../cost/session-sizes.ts";
import { readMachine, readVersions } from "../machine/machine.ts";
import type { Bench } from "../runs/bench.ts";
import { generatorFlags } from "../runs/generators.ts";
import { scenario } from "../runs/scenario.ts";
import { readRowBytes } from "../system/row-bytes.ts";
import {
  addressesOf,
  benchSettings,
  shapeFigures,
  shapeFlags,
  shapeOf,
  socketFlags,
} from "../system/system.ts";

/** Parts in the order in which they run. */
const parts: Readonly<Record<string, CostPart>> = {
  "direct-full": directAtFullLoad,
  "direct-rate": directAtRate,
  group: groupMessages,
  "cursors-direct": directCursors,
  "cursors-group": groupCursors,
  sessions: sessionCosts,
  log: logCosts,
  history: historyCosts,
};

const declared = {
  ...shapeFlags,
  ...socketFlags,
  ...generatorFlags,
  only: { default: "", doc: "only parts whose name matches this regular expression" },
  seconds: { default: "6", doc: "seconds of each measurement" },
  users: { default: "400", doc: "users of the parts direct-… and cursors-direct, in pairs" },
  rate: { default: "1000", doc: "direct-rate: messages a second" },
  members: { default: "50", doc: "group: members, all online" },
  "cursor-members": { default: "1000", doc: "cursors-group: members, all online" },
  "cursor-seconds": {
    default: "60",
    doc: "cursors-group: seconds of the measurement; connect stores these cursors once a minute",
  },
  sizes: {
    default: "1000x10,200x1000",
    doc: "sessions: idle sessions × conversations of each user, for each measurement",
  },
  "group-share": { default: "0.1", doc: "sessions: share of groups among the conversations" },
  "sweep-ms": { default: "1000", doc: "sessions: interval of the sweep; its default is 25000" },
  talk: { default: "20", doc: "sessions: messages a second to others in the busy rows" },
  entries: { default: "10000", doc: "log: entries stored before" },
  "log-conversations": { default: "1000", doc: "log: conversations of these entries" },
  "history-entries": {
    default: "1000000",
    doc: "history: messages of the long conversation, compared with 1,000",
  },
} satisfies FlagTable;

/** Figures are µs of CPU per unit of work, by process. Latencies are not measured. */
export default scenario({
  summary: `CPU per unit of work: messages, cursors, starts of sessions, idle sessions (${Object.keys(parts).join(", ")})`,
  flags: declared,
  run: cost,
});

async function cost(flags: FlagsOf<typeof declared>, bench: Bench): Promise<Report> {
  const machine = readMachine();
  const only = new RegExp(flags.text("only"));
  const selected = Object.entries(parts).filter(([name]) => only.test(name));
  if (selected.length === 0) throw new Error(`--only ${only.source} matches no part`);
  const sizes = readSessionSizes(flags.text("sizes"));
  const users = flags.number("users", 2);
  if (users % 2 !== 0) throw new Error("--users must be an even number");
  const sweepMs = flags.number("sweep-ms");
  const members = flags.number("members", 2);
  const cursorMembers = flags.number("cursor-members", 2);
  const idle = sizes.reduce((sum, { sessions }) => sum + sessions, 0);
  const active = Math.max(users, members, cursorMembers, TALKERS);
  const shape = {
    ...shapeOf(flags),
    settings: { ...benchSettings, LUCKY_CONNECT_SWEEP_INTERVAL_MS: String(sweepMs) },
  };
  return bench.withSystem(shape, async (system) => {
    const made = await bench.makeUsers(system, active + idle);
    const options = {
      bench,
      system,
      machine,
      addresses: addressesOf(system, flags),
      active: made.users.slice(0, active),
      idle: made.users.slice(active),
      generators: flags.number("generators"),
      seconds: flags.number("seconds"),
      pairedUsers: users,
      rate: flags.number("rate"),
      members,
      cursorMembers,
      cursorSeconds: flags.number("cursor-seconds"),
      sizes,
      groupShare: flags.number("group-share", 0),
      sweepMs,
      talk: flags.number("talk", 0.1),
      entries: flags.number("entries", 0),
      logConversations: flags.number("log-conversations"),
      historyEntries: flags.number("history-entries", 1_000),
    };
    const costs = new Map<string, Cost>();
    const faults: string[] = [];
    let further: Figures = {};
    for (const [name, part] of selected) {
      console.log(`\n${name}`);
      const measured = await part(options);
      for (const [unit, one] of measured.costs) costs.set(unit, one);
      faults.push(...measured.faults.map((fault) => `${name}: ${fault}`));
      further = { ...further, ...(measured.figures && { [name]: measured.figures }) };
    }
    console.log(`\nµs of CPU per unit\n\n${costTable(costs)}`);
    return {
      figures: {
        ...shapeFigures(system),
        users_origin: made.origin,
        seconds: options.seconds,
        sweep_ms: sweepMs,
        talk_per_s: options.talk,
        group_share: options.groupShare,
        costs: costFigures(costs),
        ...further,
        stored_bytes: await readRowBytes(system.postgresUrl),
        machine,
        versions: await readVersions({ ...system, mesh: system.mode === "mesh" }),
      },
      faults,
      limitedBy: undefined,
    };
  });
}
