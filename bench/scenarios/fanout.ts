import type { FlagsOf, FlagTable } from "../command/flags.ts";
import { type Figures, type Report, rounded } from "../command/report.ts";
import type { Round } from "../generator/accounting/measurement.ts";
import type { DeviceSpec } from "../generator/devices/devices.ts";
import type { Load } from "../generator/timing/load.ts";
import { readMachine, readVersions } from "../machine/machine.ts";
import type { Bench } from "../runs/bench.ts";
import { ACKNOWLEDGE_MS, Generators, generatorFlags } from "../runs/generators.ts";
import { run } from "../runs/run.ts";
import { scenario } from "../runs/scenario.ts";
import { Histogram } from "../statistics/histogram.ts";
import { makeGroup } from "../system/groups.ts";
import { addressesOf, shapeFigures, shapeFlags, shapeOf, socketFlags } from "../system/system.ts";

const declared = {
  ...shapeFlags,
  ...socketFlags,
  ...generatorFlags,
  members: { default: "1000", doc: "members of the group" },
  rate: {
    default: "20",
    doc: "messages a second; max: the next message is sent when all devices of the generator have received one",
  },
  "per-flush": { default: "1", doc: "messages that are sent together, in one write" },
  window: {
    default: "2",
    doc: "with --rate max: messages, or bursts of --per-flush messages, in flight",
  },
  seconds: { default: "10", doc: "seconds that are measured" },
  warmup: { default: "2", doc: "seconds of the same load before the measurement" },
  acknowledge: {
    default: String(ACKNOWLEDGE_MS),
    doc: "ms that acknowledgements are batched; 0 for none",
  },
  text: { default: "128", doc: "bytes of text in a message" },
} satisfies FlagTable;

export default scenario({
  summary:
    "messages to one group whose members are all online: time until all members have each message",
  flags: declared,
  run: fanout,
});

async function fanout(flags: FlagsOf<typeof declared>, bench: Bench): Promise<Report> {
  const machine = readMachine();
  const members = flags.number("members", 2);
  const load = loadOf(flags);
  const ack = flags.number("acknowledge", 0);
  return bench.withSystem(shapeOf(flags), async (system) => {
    const { users, origin } = await bench.makeUsers(system, members);
    const id = await makeGroup(system, users);
    const addresses = addressesOf(system, flags);
    const devices = users.map(
      ({ accessToken: token }, index): DeviceSpec => ({
        index,
        url: addresses[index % addresses.length]!,
        token,
        target: { kind: "conversation", id },
      }),
    );
    const text = "x".repeat(flags.number("text"));
    const setup = { dialect: "lucky", text, shared: true, acknowledgeMs: ack } as const;
    const generators = await Generators.start(flags.number("generators"), setup);
    try {
      await generators.open(devices);
      const { figures, faults, limitedBy } = await run({
        bench,
        generators,
        machine,
        processes: system.processes,
        load,
        warmupS: flags.number("warmup", 0),
        seconds: flags.number("seconds", 0.1),
        receivers: members - 1,
        shared: true,
        acknowledged: ack > 0,
        logUrls: system.logUrls,
      });
      return {
        figures: {
          ...shapeFigures(system),
          members,
          users_origin: origin,
          ...load,
          seconds: flags.number("seconds", 0.1),
          text_bytes: text.length,
          acknowledge_ms: ack,
          through_gateway: flags.on("through-gateway"),
          ...untilAllHaveIt(await generators.rounds(), members - 1),
          ...figures,
          machine,
          versions: await readVersions({ ...system, mesh: system.mode === "mesh" }),
        },
        faults,
        limitedBy,
      };
    } finally {
      generators.close();
    }
  });
}

function loadOf(flags: FlagsOf<typeof declared>): Load {
  const burst = flags.number("per-flush");
  if (flags.text("rate") === "max") {
    return { kind: "rounds", burst, window: flags.number("window") };
  }
  return { kind: "rate", perSecond: flags.number("rate"), burst };
}

/** Time from when a message was due until the last member received it. */
function untilAllHaveIt(rounds: readonly Round[], receivers: number): Figures {
  const histogram = new Histogram();
  const complete = rounds.filter(({ devices }) => devices === receivers);
  for (const { dueUs, lastUs } of complete) histogram.add(lastUs - dueUs);
  return {
    all_have_it_p50_ms: rounded(histogram.percentile(0.5) / 1_000, 2),
    all_have_it_p99_ms: rounded(histogram.percentile(0.99) / 1_000, 2),
    messages_all_have: complete.length,
    messages_not_all_have: rounds.length - complete.length,
  };
}
