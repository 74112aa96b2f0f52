import { setTimeout as pause } from "node:timers/promises";
import type { FlagsOf, FlagTable } from "../command/flags.ts";
import { type Report, rounded } from "../command/report.ts";
import type { DeviceSpec } from "../generator/devices/devices.ts";
import { cpuBetween, readCpu } from "../machine/cpu.ts";
import { readMachine, readVersions } from "../machine/machine.ts";
import type { Bench } from "../runs/bench.ts";
import { ACKNOWLEDGE_MS, Generators, generatorFlags } from "../runs/generators.ts";
import { scenario } from "../runs/scenario.ts";
import { countOutbox, type LogCounts, readLogCounts } from "../system/log-counts.ts";
import {
  addressesOf,
  type System,
  shapeFigures,
  shapeFlags,
  shapeOf,
  socketFlags,
} from "../system/system.ts";

const WINDOW = 16;
const STORE_TIMEOUT_MS = 300_000;

const declared = {
  ...shapeFlags,
  ...socketFlags,
  ...generatorFlags,
  devices: { default: "200", doc: "devices that reconnect" },
  missed: { default: "1000", doc: "entries that each device missed, at least" },
} satisfies FlagTable;

/**
 * In this scenario a message is a fetched entry, and p50_ms and p99_ms are the time until a device has all of
 * its entries. Nothing is sent during the measurement, so there is no accepted_per_s.
 */
export default scenario({
  summary:
    "devices that were offline reconnect at the same time and fetch the entries that they missed",
  flags: declared,
  run: sync,
});

async function sync(flags: FlagsOf<typeof declared>, bench: Bench): Promise<Report> {
  const machine = readMachine();
  const count = flags.number("devices");
  const missed = flags.number("missed");
  return bench.withSystem(shapeOf(flags), async (system) => {
    const { users, origin } = await bench.makeUsers(system, count * 2);
    const addresses = addressesOf(system, flags);
    const device = (index: number): DeviceSpec => ({
      index,
      url: addresses[index % addresses.length]!,
      token: users[index]!.accessToken,
    });
    // In each pair the user with the even index sends, and the other one is offline.
    const writers = users.flatMap((_, index): DeviceSpec[] =>
      index % 2 === 0
        ? [{ ...device(index), target: { kind: "user", id: users[index + 1]!.userId } }]
        : [],
    );
    const away = users.flatMap((_, index) => (index % 2 === 1 ? [device(index)] : []));
    const accepted = await write({ flags, bench, system, writers, messages: count * missed });

    const setup = {
      dialect: "lucky",
      text: "",
      shared: false,
      acknowledgeMs: ACKNOWLEDGE_MS,
    } as const;
    const generators = await Generators.start(flags.number("generators"), setup);
    try {
      const names = new Map([...system.processes, ...generators.processes]);
      const opened = await generators.open(away, count);
      const before = readCpu(names);
      const caughtUp = await generators.sync(count);
      const cpu = cpuBetween(before, readCpu(names));
      const { latencies, entries, duplicated, outOfOrder, elapsedS } = caughtUp;
      const stored = await readLogCounts(system.logUrls);
      const lost = Math.max(caughtUp.lost, stored.rows - entries);
      const generatorS = cpu.get("generator") ?? 0;
      return {
        figures: {
          ...shapeFigures(system),
          devices: count,
          missed,
          users_origin: origin,
          through_gateway: flags.on("through-gateway"),
          delivered_per_s: rounded(entries / elapsedS, 0),
          open_s: rounded(opened.elapsedS, 2),
          sync_s: rounded(elapsedS, 2),
          p50_ms: rounded(latencies.percentile(0.5) / 1_000),
          p99_ms: rounded(latencies.percentile(0.99) / 1_000),
          accepted,
          delivered: entries,
          lost,
          duplicated,
          out_of_order: outOfOrder,
          rows: stored.rows,
          sequences: stored.sequences,
          outbox: stored.outbox,
          cpu_us_per_message: Object.fromEntries(
            [...cpu].map(([name, seconds]) => [name, rounded((seconds / entries) * 1e6, 2)]),
          ),
          generator_share_of_machine: rounded(generatorS / (elapsedS * machine.cpus), 3),
          machine,
          versions: await readVersions({ ...system, mesh: system.mode === "mesh" }),
        },
        faults: findFaults({ ...caughtUp, accepted, stored, lost }),
        limitedBy: caughtUp.limitedBy ?? opened.limitedBy,
      };
    } finally {
      generators.close();
    }
  });
}

interface Counts {
  readonly accepted: number;
  readonly stored: LogCounts;
  readonly entries: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly outOfOrder: number;
  readonly failures: Readonly<Record<string, number>>;
}

function findFaults(counts: Counts): string[] {
  const { accepted, stored, entries, lost, duplicated, outOfOrder, failures } = counts;
  const { rows, sequences, outbox } = stored;
  const faults: string[] = [];
  if (rows !== accepted) faults.push(`${accepted} were accepted and ${rows} stored`);
  if (sequences !== rows) faults.push(`${rows} rows, but the sum of the sequences is ${sequences}`);
  if (outbox > 0) faults.push(`${outbox} rows are left in the outbox`);
  if (entries !== rows) faults.push(`${rows} entries were stored and ${entries} fetched`);
  if (lost > 0) faults.push(`${lost} entries are missing`);
  if (duplicated > 0) faults.push(`${duplicated} entries are duplicates`);
  if (outOfOrder > 0) faults.push(`${outOfOrder} entries were out of order`);
  for (const [why, count] of Object.entries(failures)) {
    faults.push(`${count} devices did not catch up: ${why}`);
  }
  return faults;
}

interface Writing {
  readonly flags: FlagsOf<typeof declared>;
  readonly bench: Bench;
  readonly system: System;
  readonly writers: readonly DeviceSpec[];
  readonly messages: number;
}

/** Sends until at least `messages` messages are accepted; returns the number of accepted ones. */
async function write({ flags, bench, system, writers, messages }: Writing): Promise<number> {
  const setup = {
    dialect: "lucky",
    text: "x".repeat(128),
    shared: false,
    acknowledgeMs: ACKNOWLEDGE_MS,
  } as const;
  const generators = await Generators.start(flags.number("generators"), setup);
  try {
    await generators.open(writers);
    await generators.start({ kind: "window", window: WINDOW }, { shared: false });
    bench.loadBegins();
    const untilMs = performance.now() + STORE_TIMEOUT_MS;
    const waitForCounts = async (done: (accepted: number, sent: number) => boolean) => {
      for (;;) {
        const { accepted, sent } = await generators.counts();
        if (done(accepted, sent)) return accepted;
        if (performance.now() > untilMs) throw new Error("the messages were not stored in time");
        await pause(50);
      }
    };
    await waitForCounts((accepted) => accepted >= messages);
    await generators.stop();
    const accepted = await waitForCounts((answered, sent) => answered === sent);
    while (performance.now() < untilMs && (await countOutbox(system.logUrls)) > 0) await pause(50);
    return accepted;
  } finally {
    generators.close();
  }
}
