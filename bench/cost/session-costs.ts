import { setTimeout as pause } from "node:timers/promises";
import type { DeviceSpec } from "../generator/devices/devices.ts";
import { ACKNOWLEDGE_MS, Generators } from "../runs/generators.ts";
import { type StoredConversation, storeConversations } from "../system/conversations.ts";
import { settleTables, withTables } from "../system/tables.ts";
import type { User } from "../system/users.ts";
import type { CostOptions, CostPart, PartCosts, SessionSize } from "./cost-part.ts";
import { type Cost, costOf, cpuDuring, type Used } from "./costs.ts";
import { settle } from "./settle.ts";

/** How often all sessions start, and how often they call Sync with nothing new. */
const STARTS = 3;
const SYNCS = 5;
const AT_ONCE = 32;
/** Active users that send while others are idle, in pairs. */
export const TALKERS = 40;
const TEXT_BYTES = 128;
/** Time for batches that linger after a change of load. */
const SETTLE_MS = 2_000;
/** Time until connect has left the channels of ended sessions. */
const LEAVE_MS = 7_000;

/**
 * Starts of sessions, Sync, and idle sessions, each with a number of conversations per user. The cost of an
 * idle session is the difference to the same time without these sessions.
 */
export const sessionCosts: CostPart = async (options) => {
  const { active, bench, sizes } = options;
  bench.loadBegins();
  const talkers = await Generators.start(1, {
    dialect: "lucky",
    text: "x".repeat(TEXT_BYTES),
    shared: false,
    acknowledgeMs: ACKNOWLEDGE_MS,
  });
  try {
    await talkers.open(
      devicesOf(options, active.slice(0, TALKERS)).map((device) => ({
        ...device,
        target: { kind: "user" as const, id: active[device.index ^ 1]!.userId },
      })),
    );
    await pause(LEAVE_MS);
    // The first measurement warms up the code of the talkers' messages.
    await measureIdle(options, talkers);
    const without = await measureIdle(options, talkers);
    const costs = new Map<string, Cost>();
    const faults: string[] = [];
    let first = 0;
    for (const size of sizes) {
      const users = options.idle.slice(first, first + size.sessions);
      first += size.sessions;
      await storeOwnConversations(options, { size, users });
      const measured = await measureSize(options, { size, users, talkers, without });
      for (const [name, cost] of measured.costs) costs.set(name, cost);
      faults.push(...measured.faults);
    }
    return { costs, faults };
  } finally {
    talkers.close();
  }
};

function devicesOf({ addresses }: CostOptions, users: readonly User[]): DeviceSpec[] {
  return users.map(({ accessToken: token }, index) => ({
    index,
    url: addresses[index % addresses.length]!,
    token,
  }));
}

/** Stores conversations of each user, with one entry each and with no member who is online. */
async function storeOwnConversations(
  { groupShare, system }: CostOptions,
  { size, users }: { size: SessionSize; users: readonly User[] },
): Promise<void> {
  const groups = Math.round(size.conversations * groupShare);
  const conversations = users.flatMap(({ userId }) =>
    Array.from(
      { length: size.conversations },
      (_, nth): StoredConversation => ({
        kind: nth < groups ? "group" : "direct",
        userIds: [userId],
        lastSequence: 1,
      }),
    ),
  );
  const beganMs = performance.now();
  await withTables(system.postgresUrl, async (tables) => {
    await storeConversations(tables, conversations);
    await settleTables(tables.pool);
  });
  const seconds = ((performance.now() - beganMs) / 1_000).toFixed(1);
  console.log(`${users.length} × ${size.conversations} conversations stored in ${seconds} s`);
}

/** CPU without and with messages between the talkers. */
interface Idle {
  readonly quiet: Used;
  readonly busy: Used;
}

async function measureIdle(
  { seconds, system, talk }: CostOptions,
  talkers: Generators,
): Promise<Idle> {
  const { processes } = system;
  await settle(system);
  const quiet = await cpuDuring(processes, () => pause(seconds * 1_000));
  await talkers.start({ kind: "rate", perSecond: talk, burst: 1 }, { shared: false });
  await pause(SETTLE_MS);
  const busy = await cpuDuring(processes, () => pause(seconds * 1_000));
  await talkers.stop();
  await pause(SETTLE_MS);
  return { quiet, busy };
}

interface SizeOptions {
  readonly size: SessionSize;
  readonly users: readonly User[];
  readonly talkers: Generators;
  readonly without: Idle;
}

async function measureSize(
  options: CostOptions,
  { size, users, talkers, without }: SizeOptions,
): Promise<PartCosts> {
  const { sessions, conversations } = size;
  const setup = { dialect: "lucky", text: "", shared: false, acknowledgeMs: 0 } as const;
  const generators = await Generators.start(options.generators, setup);
  try {
    const devices = devicesOf(options, users);
    await generators.open(devices, AT_ONCE);
    await pause(SETTLE_MS);
    const { costs: active, listed } = await measureStarts(options, {
      generators,
      devices,
      without: without.quiet,
    });
    const idle = await measureIdle(options, talkers);
    const faults = Object.entries((await generators.counts()).ended).map(
      ([end, closed]) => `${closed} sessions ended with ${end}`,
    );
    if (listed < sessions * conversations) {
      faults.push(`Sync returned ${listed} of ${sessions * conversations} conversations`);
    }
    const costs = Object.entries({ ...active, ...idleCosts(options, { sessions, idle, without }) });
    const name = (what: string) => `${what}_${conversations}_conversations`;
    return { costs: new Map(costs.map(([what, cost]) => [name(what), cost])), faults };
  } finally {
    await generators.cut();
    generators.close();
    await pause(LEAVE_MS);
  }
}

interface StartOptions {
  readonly generators: Generators;
  readonly devices: readonly DeviceSpec[];
  readonly without: Used;
}

/** Reconnects all sessions, and lets them call Sync. */
async function measureStarts(
  { system }: CostOptions,
  { generators, devices, without }: StartOptions,
): Promise<{ costs: Record<string, Cost>; listed: number }> {
  const { processes } = system;
  const sessions = devices.length;
  const starts = await cpuDuring(processes, async () => {
    for (let nth = 0; nth < STARTS; nth++) {
      await generators.cut();
      // Local ports of earlier starts are not free at once.
      const localAddress = `127.0.0.${2 + nth}`;
      const opened = devices.map((device) => ({ ...device, localAddress }));
      await generators.open(opened, AT_ONCE);
    }
  });
  let listed = 0;
  const fromStart = await cpuDuring(processes, async () => {
    listed = await generators.syncPages({ resume: false, atOnce: AT_ONCE });
  });
  const nothingNew = await cpuDuring(processes, async () => {
    for (let nth = 0; nth < SYNCS; nth++) {
      await generators.syncPages({ resume: true, atOnce: AT_ONCE });
    }
  });
  return {
    listed,
    costs: {
      session_start: costOf({ per: "session", count: STARTS * sessions, used: starts, without }),
      sync_from_start: costOf({ per: "device", count: sessions, used: fromStart, without }),
      sync_nothing_new: costOf({
        per: "call",
        count: SYNCS * sessions,
        used: nothingNew,
        without,
      }),
    },
  };
}

/** The cost of idle sessions: per round of the sweep, and with all their other work per minute. */
function idleCosts(
  { seconds, sweepMs }: CostOptions,
  { sessions, idle, without }: { sessions: number; idle: Idle; without: Idle },
): Record<string, Cost> {
  const rounds = (sessions * seconds * 1_000) / sweepMs;
  const minutes = (sessions * seconds) / 60;
  const cost = (load: keyof Idle, per: string, count: number) =>
    costOf({ per, count, used: idle[load], without: without[load] });
  return {
    sweep_nothing_new: cost("quiet", "session and round", rounds),
    sweep_busy: cost("busy", "session and round", rounds),
    idle_nothing_new: cost("quiet", "session and minute", minutes),
    idle_busy: cost("busy", "session and minute", minutes),
  };
}
