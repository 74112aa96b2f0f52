import type { DeviceSpec } from "../generator/devices/devices.ts";
import type { Load } from "../generator/timing/load.ts";
import { ACKNOWLEDGE_MS, Generators } from "../runs/generators.ts";
import { type Run, run } from "../runs/run.ts";
import { runUserPairs } from "../runs/user-pairs.ts";
import { makeGroup } from "../system/groups.ts";
import type { CostOptions, CostPart } from "./cost-part.ts";
import { type Cost, costOf } from "./costs.ts";

const TEXT_BYTES = 128;
const WARMUP_S = 3;
/** Messages of each user, or of the group, in flight at full load. */
const WINDOW = 16;
const GROUP_WINDOW = 8;

/** Messages of pairs of users, as many as the machine can take: the batches are large. */
export const directAtFullLoad: CostPart = async (options) => {
  const result = await runPairs(options, { kind: "window", window: WINDOW });
  return {
    costs: new Map([["message_direct_full_load", costOfRun(result, options.seconds)]]),
    faults: result.faults,
  };
};

/** Messages of pairs of users at a fixed rate: the batches are small, and wake-ups dominate. */
export const directAtRate: CostPart = async (options) => {
  const { rate } = options;
  const result = await runPairs(options, { kind: "rate", perSecond: rate, burst: 1 });
  const name = `message_direct_${rate}_per_s`;
  return { costs: new Map([[name, costOfRun(result, options.seconds)]]), faults: result.faults };
};

/** Messages of a group whose members are all online. */
export const groupMessages: CostPart = async (options) => {
  const {
    active,
    addresses,
    bench,
    generators: count,
    machine,
    members,
    seconds,
    system,
  } = options;
  const users = active.slice(0, members);
  const id = await makeGroup(system, users);
  const devices = users.map(
    ({ accessToken: token }, index): DeviceSpec => ({
      index,
      url: addresses[index % addresses.length]!,
      token,
      target: { kind: "conversation", id },
    }),
  );
  const generators = await Generators.start(count, {
    dialect: "lucky",
    text: "x".repeat(TEXT_BYTES),
    shared: true,
    acknowledgeMs: ACKNOWLEDGE_MS,
  });
  try {
    await generators.open(devices);
    const result = await run({
      bench,
      generators,
      machine,
      processes: system.processes,
      load: { kind: "rounds", burst: 1, window: GROUP_WINDOW },
      warmupS: WARMUP_S,
      seconds,
      receivers: members - 1,
      shared: true,
      // Waiting for the cursors of groups takes longer than the measurement.
      acknowledged: false,
      logUrls: system.logUrls,
    });
    const name = `message_group_of_${members}`;
    return { costs: new Map([[name, costOfRun(result, options.seconds)]]), faults: result.faults };
  } finally {
    generators.close();
  }
};

function runPairs(options: CostOptions, load: Load): Promise<Run> {
  const { active, addresses, bench, generators, machine, pairedUsers, seconds, system } = options;
  return runUserPairs({
    bench: {
      ...bench,
      makeUsers: async () => ({ users: active.slice(0, pairedUsers), origin: "minted" }),
    },
    system,
    machine,
    addresses,
    users: pairedUsers,
    idle: 0,
    load,
    textBytes: TEXT_BYTES,
    acknowledgeMs: ACKNOWLEDGE_MS,
    seconds,
    warmupS: WARMUP_S,
    generators,
  });
}

/** The cost of a message, with its acknowledgements. */
function costOfRun({ accepted, cpu }: Run, seconds: number): Cost {
  return costOf({ per: "message", count: accepted, used: { seconds, cpu } });
}
