import type { DeviceSpec } from "../generator/devices/devices.ts";
import type { DialectName } from "../generator/dialects/dialects.ts";
import type { Load } from "../generator/timing/load.ts";
import type { Machine } from "../machine/machine.ts";
import { type Rival, startRival } from "../servers/start.ts";
import { withCleanUp } from "../system/database.ts";
import type { Bench } from "./bench.ts";
import { ACKNOWLEDGE_MS, Generators } from "./generators.ts";
import { type Run, run } from "./run.ts";

/** The load, the same for every server. */
export interface Workload {
  readonly bench: Bench;
  readonly machine: Machine;
  /** An even number. */
  readonly users: number;
  readonly load: Load;
  readonly textBytes: number;
  readonly seconds: number;
  readonly warmupS: number;
  readonly generators: number;
}

export interface RivalOptions extends Workload {
  readonly rival: Rival;
  /** Name of its process in the report. */
  readonly name: string;
  readonly dialect: DialectName;
}

/** Sends the messages of pairs through a server other than Lucky, with the same generator. */
export async function runRival(options: RivalOptions): Promise<Run> {
  const { bench, rival, name, users, machine, load, seconds, warmupS } = options;
  // User ids begin with 1. The token is the user id: these servers check none, and passwords are the
  // same as the user names.
  const devices = Array.from({ length: users }, (_, index): DeviceSpec => {
    const target = { kind: "user", id: String((index ^ 1) + 1) } as const;
    return { index, url: rival.url, token: String(index + 1), target };
  });
  const text = "x".repeat(options.textBytes);
  const setup = { dialect: options.dialect, text, shared: false, acknowledgeMs: ACKNOWLEDGE_MS };
  const generators = await Generators.start(options.generators, setup);
  try {
    await generators.open(devices);
    return await run({
      bench,
      generators,
      machine,
      processes: new Map([[rival.pid, name]]),
      load,
      seconds,
      warmupS,
      receivers: 1,
      shared: false,
      ordered: options.dialect !== "socket.io",
      logUrls: undefined,
    });
  } finally {
    generators.close();
  }
}

/** Sends the messages through the relay, which neither stores nor batches them. */
export function runRelay(workload: Workload): Promise<Run> {
  return withCleanUp(async (started) => {
    console.log("a relay on uWebSockets.js, which neither stores nor batches");
    const rival = await startRival("relay.ts");
    started.push(() => rival.close());
    return runRival({ ...workload, rival, name: "relay", dialect: "lucky" });
  });
}
