import { setTimeout as pause } from "node:timers/promises";
import { createRabbitBus } from "#platform/bus/rabbitmq.ts";
import { systemClock } from "#platform/clock.ts";
import { createLog } from "#platform/log.ts";
import { startRabbit } from "../../test/backends/backends.ts";
import type { FlagsOf, FlagTable } from "../command/flags.ts";
import { type Report, rounded } from "../command/report.ts";
import { cpuBetween, readCpu } from "../machine/cpu.ts";
import { type Machine, readMachine, readVersions } from "../machine/machine.ts";
import type { Bench } from "../runs/bench.ts";
import { type BenchShare, benchShare, bottlenecksOf } from "../runs/bottleneck.ts";
import { generatorFlags } from "../runs/generators.ts";
import { runRelay } from "../runs/rival.ts";
import { scenario } from "../runs/scenario.ts";
import { usersInPairs } from "../runs/user-pairs.ts";
import { startDatabase, withCleanUp } from "../system/database.ts";
import { EntryInserter } from "../system/entry-inserter.ts";

const WARMUP_S = 2;

const declared = {
  ...generatorFlags,
  users: { default: "400", doc: "users, in pairs; also the number of conversations for inserts" },
  window: { default: "16", doc: "messages of each user in flight through the relay" },
  seconds: { default: "10", doc: "seconds that each part is measured" },
  text: { default: "128", doc: "bytes of text in a relayed message" },
  batch: { default: "512", doc: "rows in one insert" },
  lanes: { default: "4", doc: "concurrent inserts" },
  envelope: { default: "4096", doc: "bytes in one publish" },
  unconfirmed: { default: "128", doc: "publishes in flight" },
} satisfies FlagTable;

/**
 * Measures three parts separately, each with its own rate and figures: `relay`, whose messages are accounted
 * for as in other scenarios, and `insert` and `publish`, which run in the bench's own process. No message
 * passes all three, so no figure covers all three. The relay is not an upper bound: it does not batch.
 */
export default scenario({
  summary:
    "parts without Lucky: a relay that neither stores nor batches, bare inserts, bare publishes",
  flags: declared,
  run: limits,
});

async function limits(flags: FlagsOf<typeof declared>, bench: Bench): Promise<Report> {
  const machine = readMachine();
  const users = usersInPairs(flags);
  const seconds = flags.number("seconds", 0.1);
  const relay = await runRelay({
    bench,
    machine,
    users,
    load: { kind: "window", window: flags.number("window") },
    textBytes: flags.number("text"),
    seconds,
    warmupS: WARMUP_S,
    generators: flags.number("generators"),
  });
  const { inserted, versions } = await insert(flags, machine);
  const published = await publish(flags, machine);
  const runs = { relay, insert: inserted, publish: published };
  return {
    figures: {
      users,
      seconds,
      relay_per_s: rounded(relay.deliveredPerS, 0),
      insert_per_s: rounded(inserted.perS, 0),
      publish_per_s: rounded(published.perS, 0),
      insert_batch: flags.number("batch"),
      insert_lanes: flags.number("lanes"),
      publish_bytes: flags.number("envelope"),
      publish_unconfirmed: flags.number("unconfirmed"),
      relay: relay.figures,
      insert: inserted.figures,
      publish: published.figures,
      machine,
      versions,
    },
    faults: relay.faults.map((fault) => `relay: ${fault}`),
    limitedBy: bottlenecksOf(runs),
  };
}

/** Measures rows a second, with the server's own statement. */
function insert(flags: FlagsOf<typeof declared>, machine: Machine) {
  return withCleanUp(async (started) => {
    console.log("bare inserts into the log, with the server's own statement");
    const { url, pool, ids } = await startDatabase(started);
    const lanes = flags.number("lanes");
    const batch = flags.number("batch");
    const inserter = new EntryInserter({ pool, ids, clock: systemClock, lanes });
    await inserter.makeConversations(flags.number("users"));
    const inserted = await repeat({
      machine,
      seconds: flags.number("seconds", 0.1),
      atOnce: lanes,
      work: async (lane) => {
        await inserter.insert(batch, lane);
        return batch;
      },
    });
    return { inserted, versions: await readVersions({ postgresUrl: url, mesh: true }) };
  });
}

/** Measures confirmed publishes a second, through the server's own bus, with a consumer. */
function publish(flags: FlagsOf<typeof declared>, machine: Machine): Promise<Repeated> {
  return withCleanUp(async (started) => {
    console.log("bare publishes to RabbitMQ: persistent, mandatory, confirmed, acknowledged");
    const rabbit = await startRabbit();
    started.push(() => rabbit.close());
    const log = createLog({ service: "bench", instanceId: "bench", level: "warn" });
    const bus = await createRabbitBus({ url: rabbit.url, log });
    started.push(() => bus.close());
    await bus.consume("bench", async () => {});
    const body = Buffer.alloc(flags.number("envelope"), "x");
    return repeat({
      machine,
      seconds: flags.number("seconds", 0.1),
      atOnce: flags.number("unconfirmed"),
      work: async () => {
        await bus.publish("bench", body, AbortSignal.timeout(10_000));
        return 1;
      },
    });
  });
}

interface Repeated extends BenchShare {
  readonly perS: number;
}

/** Repeats work concurrently, and measures its rate and the bench's own share after a warm-up. */
async function repeat(options: {
  readonly machine: Machine;
  readonly seconds: number;
  readonly atOnce: number;
  /** Resolves to the number of operations. */
  readonly work: (nth: number) => Promise<number>;
}): Promise<Repeated> {
  const { machine, seconds, atOnce, work } = options;
  const fromMs = performance.now() + WARMUP_S * 1_000;
  const untilMs = fromMs + seconds * 1_000;
  let done = 0;
  const one = async (nth: number) => {
    while (performance.now() < untilMs) {
      const count = await work(nth);
      const nowMs = performance.now();
      if (nowMs >= fromMs && nowMs < untilMs) done += count;
    }
  };
  const working = Promise.all(Array.from({ length: atOnce }, (_, nth) => one(nth)));
  const names = new Map<number, string>();
  // A failure of the work also ends the wait.
  await Promise.race([pause(WARMUP_S * 1_000), working]);
  const before = readCpu(names);
  const beganMs = performance.now();
  await Promise.race([pause(seconds * 1_000), working]);
  const cpu = cpuBetween(before, readCpu(names));
  const elapsedS = (performance.now() - beganMs) / 1_000;
  await working;
  return { perS: done / seconds, ...benchShare({ cpu, elapsedS, cpus: machine.cpus }) };
}
