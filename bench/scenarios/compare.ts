import { createRequire } from "node:module";
import { startRedis } from "../../test/backends/backends.ts";
import type { FlagsOf, FlagTable } from "../command/flags.ts";
import { type Report, rounded } from "../command/report.ts";
import { readMachine, readVersions } from "../machine/machine.ts";
import type { Bench } from "../runs/bench.ts";
import { bottlenecksOf } from "../runs/bottleneck.ts";
import { ACKNOWLEDGE_MS, generatorFlags } from "../runs/generators.ts";
import { runRelay, runRival, type Workload } from "../runs/rival.ts";
import type { Run } from "../runs/run.ts";
import { scenario } from "../runs/scenario.ts";
import { runUserPairs, usersInPairs } from "../runs/user-pairs.ts";
import { type Ejabberd, findEjabberd, startEjabberd } from "../servers/ejabberd.ts";
import { startRival } from "../servers/start.ts";
import { startDatabase, withCleanUp } from "../system/database.ts";
import { addressesOf, type Mode, shapeFlags, shapeOf, socketFlags } from "../system/system.ts";

const NOT_INSTALLED = "not installed";

const declared = {
  ...shapeFlags,
  ...socketFlags,
  ...generatorFlags,
  users: { default: "400", doc: "users, in pairs" },
  window: { default: "16", doc: "messages of each user in flight" },
  seconds: { default: "10", doc: "seconds that each server is measured" },
  warmup: { default: "2", doc: "seconds of the same load before the measurement" },
  text: { default: "128", doc: "bytes of text in a message" },
} satisfies FlagTable;

export default scenario({
  summary:
    "the same messages through Lucky, Socket.IO with Redis and INSERTs, ejabberd, a bare relay",
  flags: declared,
  run: compare,
});

async function compare(flags: FlagsOf<typeof declared>, bench: Bench): Promise<Report> {
  const machine = readMachine();
  const workload = {
    bench,
    machine,
    users: usersInPairs(flags),
    load: { kind: "window", window: flags.number("window") } as const,
    textBytes: flags.number("text"),
    seconds: flags.number("seconds", 0.1),
    warmupS: flags.number("warmup", 0),
    generators: flags.number("generators"),
  };
  const shape = shapeOf(flags);
  requirePackages("socket.io", "@socket.io/redis-adapter");
  const relay = await runRelay(workload);
  const socketIo = await runSocketIo(workload, shape.mode);
  const installed = findEjabberd();
  const ejabberd = installed && (await runEjabberd(installed, workload));
  const { lucky, versions } = await bench.withSystem(shape, async (system) => ({
    lucky: await runUserPairs({
      ...workload,
      system,
      addresses: addressesOf(system, flags),
      idle: 0,
      acknowledgeMs: ACKNOWLEDGE_MS,
    }),
    versions: await readVersions({ ...system, mesh: true }),
  }));
  const runs = { Lucky: lucky, "Socket.IO": socketIo, relay, ...(ejabberd && { ejabberd }) };
  const ratioTo = ({ deliveredPerS }: Run) => rounded(lucky.deliveredPerS / deliveredPerS, 2);
  return {
    figures: {
      mode: flags.text("mode"),
      users: workload.users,
      window: workload.load.window,
      seconds: workload.seconds,
      lucky_per_s: rounded(lucky.deliveredPerS, 0),
      socket_io_per_s: rounded(socketIo.deliveredPerS, 0),
      ejabberd_per_s: ejabberd ? rounded(ejabberd.deliveredPerS, 0) : NOT_INSTALLED,
      relay_per_s: rounded(relay.deliveredPerS, 0),
      ratio: ratioTo(socketIo),
      ratio_ejabberd: ejabberd ? ratioTo(ejabberd) : NOT_INSTALLED,
      ratio_relay: ratioTo(relay),
      lucky: lucky.figures,
      socket_io: socketIo.figures,
      ejabberd: ejabberd?.figures ?? NOT_INSTALLED,
      relay: relay.figures,
      machine,
      versions: { ...versions, ...(installed && { ejabberd: installed.version }) },
    },
    faults: Object.entries(runs).flatMap(([name, { faults }]) =>
      faults.map((fault) => `${name}: ${fault}`),
    ),
    limitedBy: bottlenecksOf(runs),
  };
}

/** Runs Socket.IO. It connects to PostgreSQL as Lucky does in the same mode: by Unix socket or by TCP. */
function runSocketIo(workload: Workload, mode: Mode): Promise<Run> {
  return withCleanUp(async (started) => {
    console.log("Socket.IO with its Redis adapter and one INSERT a message");
    const { url, socketUrl, pool } = await startDatabase(started);
    const redis = await startRedis();
    started.push(() => redis.close());
    const rival = await startRival(
      "socket-io.ts",
      mode === "embedded" ? socketUrl : url,
      redis.url,
    );
    started.push(() => rival.close());
    const result = await runRival({
      ...workload,
      rival,
      name: "socket.io",
      dialect: "socket.io",
    });
    const { rows } = await pool.query("SELECT count(*)::float8 AS stored FROM message");
    if (rows[0].stored !== result.figures.accepted) {
      result.faults.push(`${result.figures.accepted} were accepted and ${rows[0].stored} stored`);
    }
    return result;
  });
}

function runEjabberd(ejabberd: Ejabberd, workload: Workload): Promise<Run> {
  return withCleanUp(async (started) => {
    console.log("ejabberd over WebSocket, with accounts and message archive in PostgreSQL");
    const { url, pool } = await startDatabase(started);
    const rival = await startEjabberd(ejabberd, { url, pool, users: workload.users });
    started.push(() => rival.close());
    const result = await runRival({ ...workload, rival, name: "ejabberd", dialect: "xmpp" });
    const { rows } = await pool.query("SELECT count(*)::float8 AS stored FROM archive");
    // The archive has one copy for the sender and one for the receiver.
    if (rows[0].stored !== 2 * Number(result.figures.accepted)) {
      result.faults.push(
        `${result.figures.accepted} were accepted and ${rows[0].stored} copies stored, not two each`,
      );
    }
    return result;
  });
}

/** Throws an error for the user when a package of the other server is not installed. */
function requirePackages(...names: string[]): void {
  const { resolve } = createRequire(import.meta.url);
  for (const name of names) {
    try {
      resolve(name);
    } catch (cause) {
      const text = `this scenario compares with ${names.join(" and ")}, which are not installed`;
      throw new Error(text, { cause });
    }
  }
}
