import type { FlagsOf, FlagTable } from "../command/flags.ts";
import type { Report } from "../command/report.ts";
import type { Load } from "../generator/timing/load.ts";
import { readMachine, readVersions } from "../machine/machine.ts";
import type { Bench } from "../runs/bench.ts";
import { ACKNOWLEDGE_MS, generatorFlags } from "../runs/generators.ts";
import { scenario } from "../runs/scenario.ts";
import { runUserPairs, usersInPairs } from "../runs/user-pairs.ts";
import { prefill } from "../system/prefill.ts";
import { addressesOf, shapeFigures, shapeFlags, shapeOf, socketFlags } from "../system/system.ts";

const declared = {
  ...shapeFlags,
  ...socketFlags,
  ...generatorFlags,
  users: { default: "400", doc: "users, in pairs" },
  window: { default: "16", doc: "messages of each user in flight (closed loop)" },
  rate: {
    default: "",
    doc: "messages a second, by all users in turn (open loop), instead of a window",
  },
  burst: { default: "1", doc: "with --rate: messages that a user sends together, in one write" },
  seconds: { default: "10", doc: "seconds that are measured" },
  warmup: { default: "5", doc: "seconds of the same load before the measurement" },
  acknowledge: {
    default: String(ACKNOWLEDGE_MS),
    doc: "ms that acknowledgements are batched; 0 for none",
  },
  text: { default: "128", doc: "bytes of text in a message" },
  prefill: { default: "0", doc: "entries stored before the run, in other conversations" },
  idle: { default: "0", doc: "additional idle sessions" },
} satisfies FlagTable;

export default scenario({
  summary: "pairs of users send messages to each other: throughput, latency, and an exact account",
  flags: declared,
  run: messages,
});

async function messages(flags: FlagsOf<typeof declared>, bench: Bench): Promise<Report> {
  const machine = readMachine();
  const users = usersInPairs(flags);
  const load = loadOf(flags);
  const seconds = flags.number("seconds", 0.1);
  const textBytes = flags.number("text");
  const idle = flags.number("idle", 0);
  const prefilled = flags.number("prefill", 0);
  return bench.withSystem(shapeOf(flags), async (system) => {
    await prefill(system, prefilled);
    const { figures, faults, limitedBy, origin } = await runUserPairs({
      bench,
      system,
      machine,
      addresses: addressesOf(system, flags),
      users,
      idle,
      load,
      textBytes,
      acknowledgeMs: flags.number("acknowledge", 0),
      seconds,
      warmupS: flags.number("warmup", 0),
      generators: flags.number("generators"),
    });
    return {
      figures: {
        ...shapeFigures(system),
        users,
        users_origin: origin,
        ...load,
        seconds,
        text_bytes: textBytes,
        acknowledge_ms: flags.number("acknowledge", 0),
        prefilled,
        idle,
        through_gateway: flags.on("through-gateway"),
        ...figures,
        machine,
        versions: await readVersions({ ...system, mesh: system.mode === "mesh" }),
      },
      faults,
      limitedBy,
    };
  });
}

function loadOf(flags: FlagsOf<typeof declared>): Load {
  if (flags.text("rate") === "") return { kind: "window", window: flags.number("window") };
  return { kind: "rate", perSecond: flags.number("rate"), burst: flags.number("burst", 1) };
}
