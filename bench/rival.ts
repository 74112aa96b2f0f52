import type { DeviceSpec, DialectName, Load } from "./generator/api.ts";
import { acknowledgeMs, Generators } from "./generators.ts";
import type { Machine } from "./machine.ts";
import { type Run, run } from "./run.ts";
import type { Rival } from "./servers/start.ts";

const OPEN_AT_ONCE = 64;

export interface RivalOptions {
  readonly rival: Rival;
  /** What its CPU is counted under. */
  readonly name: string;
  readonly dialect: DialectName;
  readonly machine: Machine;
  readonly users: number;
  readonly load: Load;
  readonly textBytes: number;
  readonly seconds: number;
  readonly warmupS: number;
  readonly generators: number;
}

/** The messages of pairs, sent through another server than Lucky by the same generator. */
export async function runRival(options: RivalOptions): Promise<Run> {
  const { rival, name, users, machine, load, seconds, warmupS } = options;
  // User ids begin with 1, and the token is the user id: these servers believe everything, and where
  // there are passwords, they are the same.
  const devices = Array.from({ length: users }, (_, index): DeviceSpec => {
    const target = { kind: "user", id: String((index ^ 1) + 1) } as const;
    return { index, url: rival.url, token: String(index + 1), target };
  });
  const text = "x".repeat(options.textBytes);
  const setup = { dialect: options.dialect, text, shared: false, acknowledgeMs };
  const generators = await Generators.start(options.generators, setup);
  try {
    await generators.open(devices, OPEN_AT_ONCE);
    return await run({
      generators,
      machine,
      processes: new Map([[rival.pid, name]]),
      load,
      seconds,
      warmupS,
      receivers: 1,
      shared: false,
      ordered: options.dialect !== "socket.io",
      postgresUrl: undefined,
    });
  } finally {
    generators.close();
  }
}
