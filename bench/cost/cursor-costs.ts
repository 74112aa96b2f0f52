import { setTimeout as pause } from "node:timers/promises";
import type { DeviceSpec } from "../generator/devices/devices.ts";
import { Generators } from "../runs/generators.ts";
import { type StoredConversation, storeConversations } from "../system/conversations.ts";
import { withTables } from "../system/tables.ts";
import type { CostOptions, CostPart, PartCosts } from "./cost-part.ts";
import { costOf, cpuDuring } from "./costs.ts";
import { settle } from "./settle.ts";

/** Last sequence of the conversations: cursors advance for as long as a run lasts. */
const LAST_SEQUENCE = 1_000_000;
const EVERY_MS = 1_000;
const WARMUP_ROUNDS = 3;

/**
 * Delivered cursors of direct conversations: each user of a pair acknowledges once a second. The other user
 * gets a receipt.
 */
export const directCursors: CostPart = (options) => {
  const { active, pairedUsers, seconds } = options;
  const conversations = Array.from(
    { length: pairedUsers / 2 },
    (_, nth): StoredConversation => ({
      kind: "direct",
      userIds: active.slice(2 * nth, 2 * nth + 2).map(({ userId }) => userId),
      lastSequence: LAST_SEQUENCE,
    }),
  );
  return measureCursors(options, {
    name: "cursor_direct",
    users: pairedUsers,
    conversations,
    conversationOf: (index) => index >> 1,
    seconds,
  });
};

/** Delivered cursors of a large group: each member acknowledges once a second. */
export const groupCursors: CostPart = (options) => {
  const { active, cursorMembers, cursorSeconds } = options;
  const userIds = active.slice(0, cursorMembers).map(({ userId }) => userId);
  return measureCursors(options, {
    name: `cursor_group_of_${cursorMembers}`,
    users: cursorMembers,
    conversations: [{ kind: "group", userIds, lastSequence: LAST_SEQUENCE }],
    conversationOf: () => 0,
    seconds: cursorSeconds,
  });
};

interface Cursors {
  readonly name: string;
  readonly users: number;
  readonly conversations: readonly StoredConversation[];
  /** Index of the conversation that a device acknowledges. */
  readonly conversationOf: (index: number) => number;
  readonly seconds: number;
}

/** Acknowledges without messages, so that no cost of a message disturbs the figure. */
async function measureCursors(options: CostOptions, cursors: Cursors): Promise<PartCosts> {
  const { active, addresses, bench, generators: count, system } = options;
  bench.loadBegins();
  const ids = await withTables(system.postgresUrl, (tables) =>
    storeConversations(tables, cursors.conversations),
  );
  const devices = active.slice(0, cursors.users).map(
    ({ accessToken: token }, index): DeviceSpec => ({
      index,
      url: addresses[index % addresses.length]!,
      token,
    }),
  );
  const conversationIds = Object.fromEntries(
    devices.map(({ index }) => [index, ids[cursors.conversationOf(index)]!]),
  );
  const setup = { dialect: "lucky", text: "", shared: false, acknowledgeMs: 0 } as const;
  const generators = await Generators.start(count, setup);
  try {
    await generators.open(devices);
    await settle(system);
    const without = await cpuDuring(system.processes, () => pause(cursors.seconds * 1_000));
    const load = { conversationIds, everyMs: EVERY_MS };
    await generators.acknowledge({ ...load, firstSequence: 1, rounds: WARMUP_ROUNDS });
    let acknowledged = 0;
    const used = await cpuDuring(system.processes, async () => {
      const rounds = Math.max(1, Math.round((cursors.seconds * 1_000) / EVERY_MS));
      const firstSequence = 1 + WARMUP_ROUNDS;
      acknowledged = await generators.acknowledge({ ...load, firstSequence, rounds });
    });
    const { ended } = await generators.counts();
    return {
      costs: new Map([
        [cursors.name, costOf({ per: "acknowledgement", count: acknowledged, used, without })],
      ]),
      faults: Object.entries(ended).map(([end, closed]) => `${closed} sessions ended with ${end}`),
    };
  } finally {
    generators.close();
  }
}
