import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { startRedis } from "../../test/backends.ts";
import { startDatabase, withStarted } from "../backends.ts";
import { acknowledgeMs } from "../generators.ts";
import { readMachine, readVersions } from "../machine.ts";
import type { Flags } from "../options.ts";
import { runPairs } from "../pairs.ts";
import { type Report, rounded } from "../report.ts";
import { runRival } from "../rival.ts";
import type { Run } from "../run.ts";
import { scenario } from "../scenario.ts";
import { startRival } from "../servers/start.ts";
import { addressesOf, modeFlags, shapeOf, withSystem } from "../system.ts";

const ejabberd = ["/usr/sbin/ejabberdctl", "/opt/ejabberd/bin/ejabberdctl"];

export default scenario({
  summary: "the same messages through Lucky, through Socket.IO with Redis and one INSERT a message",
  flags: {
    ...modeFlags,
    users: { default: "400", doc: "users, in pairs" },
    window: { default: "16", doc: "messages of each user in flight" },
    seconds: { default: "10", doc: "how long each is measured" },
    warmup: { default: "2", doc: "seconds of the same load before" },
    text: { default: "128", doc: "bytes of text in a message" },
  },
  run: compare,
});

async function compare(flags: Flags): Promise<Report> {
  requirePackages("socket.io", "@socket.io/redis-adapter");
  const machine = readMachine();
  const workload = {
    machine,
    users: flags.number("users", 2),
    load: { kind: "window", window: flags.number("window") } as const,
    textBytes: flags.number("text"),
    seconds: flags.number("seconds", 0.1),
    warmupS: flags.number("warmup", 0),
    generators: flags.number("generators"),
  };
  const socketIo = await withStarted(async (started) => {
    console.log("Socket.IO with its Redis adapter and one INSERT a message");
    const { url, pool } = await startDatabase(started);
    const redis = await startRedis();
    started.push(() => redis.close());
    const rival = await startRival("socket-io.ts", url, redis.url);
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
  const { lucky, versions } = await withSystem(shapeOf(flags), async (system) => ({
    lucky: await runPairs({
      ...workload,
      system,
      addresses: addressesOf(system, flags),
      idle: 0,
      acknowledgeMs,
    }),
    versions: await readVersions({ ...system, mesh: true }),
  }));
  const faultsOf = (name: string, { faults }: Run) => faults.map((fault) => `${name}: ${fault}`);
  return {
    figures: {
      mode: flags.text("mode"),
      users: workload.users,
      window: workload.load.window,
      seconds: workload.seconds,
      lucky_per_s: rounded(lucky.deliveredPerS, 0),
      socket_io_per_s: rounded(socketIo.deliveredPerS, 0),
      ratio: rounded(lucky.deliveredPerS / socketIo.deliveredPerS, 2),
      ejabberd: ejabberd.some(existsSync) ? "installed, but not measured here" : "not installed",
      lucky: lucky.figures,
      socket_io: socketIo.figures,
      machine,
      versions,
    },
    faults: [...faultsOf("Lucky", lucky), ...faultsOf("Socket.IO", socketIo)],
    limitedBy: lucky.limitedBy ?? socketIo.limitedBy,
  };
}

/** Throws, in a plain sentence, when a package of the other server is not installed. */
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
