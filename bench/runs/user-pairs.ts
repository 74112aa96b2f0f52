import type { Flags } from "../command/flags.ts";
import type { DeviceSpec } from "../generator/devices/devices.ts";
import type { Load } from "../generator/timing/load.ts";
import type { Machine } from "../machine/machine.ts";
import type { System } from "../system/system.ts";
import type { Origin } from "../system/users.ts";
import type { Bench } from "./bench.ts";
import { Generators } from "./generators.ts";
import { type Run, run } from "./run.ts";

/**
 * Number of users; they write to each other in pairs. Throws an error for the user of the bench for an odd
 * number.
 */
export function usersInPairs(flags: Flags<"users">): number {
  const users = flags.number("users", 2);
  if (users % 2 !== 0) throw new Error("--users must be an even number");
  return users;
}

export interface UserPairsOptions {
  readonly bench: Bench;
  readonly system: System;
  readonly machine: Machine;
  /** Addresses at which sockets open, round robin. */
  readonly addresses: readonly string[];
  /** Users in pairs: an even number. */
  readonly users: number;
  /** Number of additional idle sessions. */
  readonly idle: number;
  readonly load: Load;
  readonly textBytes: number;
  /** How long acknowledgements are batched; 0 for none. */
  readonly acknowledgeMs: number;
  readonly seconds: number;
  readonly warmupS: number;
  readonly generators: number;
}

/** Sends the messages of pairs of users through Lucky. */
export async function runUserPairs(options: UserPairsOptions): Promise<Run & { origin: Origin }> {
  const { bench, system, addresses, users: count, idle } = options;
  const { users, origin } = await bench.makeUsers(system, count + idle);
  const devices = users.map(({ accessToken: token }, index): DeviceSpec => {
    const url = addresses[index % addresses.length]!;
    if (index >= count) return { index, url, token };
    return { index, url, token, target: { kind: "user", id: users[index ^ 1]!.userId } };
  });
  const text = "x".repeat(options.textBytes);
  const setup = {
    dialect: "lucky",
    text,
    shared: false,
    acknowledgeMs: options.acknowledgeMs,
  } as const;
  const generators = await Generators.start(options.generators, setup);
  try {
    await generators.open(devices);
    const result = await run({
      ...options,
      generators,
      processes: system.processes,
      receivers: 1,
      shared: false,
      acknowledged: options.acknowledgeMs > 0,
      logUrls: system.logUrls,
    });
    return { ...result, origin };
  } finally {
    generators.close();
  }
}
