import { createRabbitBus } from "../../platform/bus/rabbitmq.ts";
import { systemClock } from "../../platform/clock.ts";
import { createLog } from "../../platform/log.ts";
import { startRabbit } from "../../test/backends.ts";
import { startDatabase, withStarted } from "../backends.ts";
import { Inserter } from "../inserter.ts";
import { readMachine, readVersions } from "../machine.ts";
import type { Flags } from "../options.ts";
import { type Report, rounded } from "../report.ts";
import { runRival } from "../rival.ts";
import { scenario } from "../scenario.ts";
import { startRival } from "../servers/start.ts";

const WARMUP_S = 2;

export default scenario({
  summary: "what the machine allows without Lucky: bare relay, bare inserts, bare publishing",
  flags: {
    users: { default: "400", doc: "users, in pairs; also conversations that are inserted into" },
    window: { default: "16", doc: "messages of each user in flight through the relay" },
    seconds: { default: "10", doc: "how long each is measured" },
    text: { default: "128", doc: "bytes of text in a relayed message" },
    batch: { default: "512", doc: "rows in one insert" },
    lanes: { default: "4", doc: "inserts at the same time" },
    envelope: { default: "4096", doc: "bytes in one publishing" },
    unconfirmed: { default: "128", doc: "publishings on their way at once" },
  },
  run: limits,
});

async function limits(flags: Flags): Promise<Report> {
  const machine = readMachine();
  const users = flags.number("users", 2);
  const seconds = flags.number("seconds", 0.1);
  const relay = await withStarted(async (started) => {
    console.log("a bare relay on uWebSockets.js, which stores nothing");
    const rival = await startRival("relay.ts");
    started.push(() => rival.close());
    return runRival({
      rival,
      name: "relay",
      dialect: "lucky",
      machine,
      users,
      load: { kind: "window", window: flags.number("window") },
      textBytes: flags.number("text"),
      seconds,
      warmupS: WARMUP_S,
      generators: flags.number("generators"),
    });
  });
  const inserted = await insert(flags, seconds);
  const published = await publish(flags, seconds);
  return {
    figures: {
      users,
      seconds,
      relay_per_s: rounded(relay.deliveredPerS, 0),
      insert_per_s: rounded(inserted.perS, 0),
      publish_per_s: rounded(published, 0),
      insert_batch: flags.number("batch"),
      insert_lanes: flags.number("lanes"),
      publish_bytes: flags.number("envelope"),
      publish_unconfirmed: flags.number("unconfirmed"),
      relay: relay.figures,
      machine,
      versions: inserted.versions,
    },
    faults: relay.faults.map((fault) => `relay: ${fault}`),
    limitedBy: relay.limitedBy,
  };
}

/** Rows a second, by the statement that the server appends with. */
function insert(flags: Flags, seconds: number) {
  return withStarted(async (started) => {
    console.log("bare inserts into the log, by the server's own statement");
    const { url, pool, ids } = await startDatabase(started);
    const lanes = flags.number("lanes");
    const batch = flags.number("batch");
    const inserter = new Inserter({ pool, ids, clock: systemClock, lanes });
    await inserter.makeConversations(flags.number("users"));
    const perS = await repeat({
      seconds,
      atOnce: lanes,
      work: async (lane) => {
        await inserter.insert(batch, lane);
        return batch;
      },
    });
    return { perS, versions: await readVersions({ postgresUrl: url, mesh: true }) };
  });
}

/** Confirmed publishings a second, through the server's own bus, with somebody who takes them. */
function publish(flags: Flags, seconds: number): Promise<number> {
  return withStarted(async (started) => {
    console.log("bare publishing to RabbitMQ: persistent, mandatory, confirmed, acknowledged");
    const rabbit = await startRabbit();
    started.push(() => rabbit.close());
    const log = createLog({ service: "bench", instanceId: "bench", level: "warn" });
    const bus = await createRabbitBus({ url: rabbit.url, log });
    started.push(() => bus.close());
    await bus.consume("bench", async () => {});
    const body = Buffer.alloc(flags.number("envelope"), "x");
    return repeat({
      seconds,
      atOnce: flags.number("unconfirmed"),
      work: async () => {
        await bus.publish("bench", body, AbortSignal.timeout(10_000));
        return 1;
      },
    });
  });
}

/** Repeats work, several at the same time; returns how much a second was done after a warm-up. */
async function repeat(options: {
  readonly seconds: number;
  readonly atOnce: number;
  readonly work: (nth: number) => Promise<number>;
}): Promise<number> {
  const { seconds, atOnce, work } = options;
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
  await Promise.all(Array.from({ length: atOnce }, (_, nth) => one(nth)));
  return done / seconds;
}
