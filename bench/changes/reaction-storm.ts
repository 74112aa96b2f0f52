import { setTimeout as pause } from "node:timers/promises";
import { ChangeService } from "#gen/lucky/message/v1/change_pb.js";
import { HistoryService } from "#gen/lucky/message/v1/history_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { clientOf } from "../../test/world/people.ts";
import { type Figures, type Report, rounded } from "../command/report.ts";
import { costFigures } from "../cost/cost-table.ts";
import { costOf, cpuDuring } from "../cost/costs.ts";
import type { Machine } from "../machine/machine.ts";
import type { Bench } from "../runs/bench.ts";
import { benchShare } from "../runs/bottleneck.ts";
import { makeGroup } from "../system/groups.ts";
import { countOutbox, readLogCounts, readTableRows } from "../system/log-counts.ts";
import { sumOfMetric } from "../system/metrics.ts";
import type { System } from "../system/system.ts";
import type { User } from "../system/users.ts";
import { type Call, type CallsMade, callAll, callSpread, faultsOf, retrying } from "./call-load.ts";
import { CountingDevice, FrameDecoder, type Target } from "./counting-device.ts";
import { emojiOf, expectedTally, tallyOf } from "./reaction-tally.ts";

const CONCURRENT_HANDSHAKES = 32;
/** Time-out of the wait until all devices have the exact counts. */
const SETTLE_TIMEOUT_MS = 60_000;
const POLL_MS = 20;
/** Time between two transactions of a large group on one server, ms; and reactions in one entry. */
const SPACING_MS = 2_000;
const MAX_DELTAS = 500;
/** Tables with a row for each entry; news may also have rows of entries just before the storm. */
const ROWS_OF_ENTRIES = ["entry", "change", "news"];
const MAX_ROWS_OF_ENTRY = 2;

export interface ReactionStorm {
  readonly bench: Bench;
  /** A mesh. */
  readonly system: System;
  readonly machine: Machine;
  /** The members of the group. */
  readonly users: readonly User[];
  /** Members with an open session. */
  readonly online: number;
  /** Reactions, each of another member. */
  readonly reactions: number;
  /** Seconds over which the reactions are spread. */
  readonly seconds: number;
}

interface Counts {
  readonly rows: ReadonlyMap<string, number>;
  readonly envelopes: number;
}

/**
 * Many members of a large group react to one message, while others of them are online on several instances of
 * connect. Counts the entries, rows and envelopes that this causes, and checks that every device ends with the
 * exact counts.
 */
export async function reactionStorm(storm: ReactionStorm): Promise<Report> {
  const { bench, system, machine, users, reactions, seconds } = storm;
  if (reactions > users.length) throw new Error("--reactions must be at most --members");
  bench.loadBegins();
  const conversationId = await makeGroup(system, users);
  const sequence = await sendOne(system, users[0]!, conversationId);
  const devices = await openDevices(storm, { conversationId, sequence });
  try {
    await emptyOutbox(system);
    const before = await readCounts(system);
    const expected = expectedTally(reactions);
    const calls = users.slice(0, reactions).map(({ accessToken }, nth): Call => {
      const emoji = emojiOf(nth);
      const changes = clientOf(system.url, ChangeService, accessToken);
      return async () => {
        const answer = await changes.setReactions({ conversationId, sequence, emojis: [emoji] });
        const count = answer.reactions.find((one) => one.emoji === emoji)?.count ?? 0n;
        if (answer.changedSequence <= sequence || count < 1n)
          throw new Error("the answer lacks the reaction");
      };
    });
    let made: CallsMade | undefined;
    let settledMs = 0;
    const used = await cpuDuring(system.processes, async () => {
      made = await callSpread(calls, seconds);
      settledMs = await settled(devices, expected);
    });
    await emptyOutbox(system);
    const after = await readCounts(system);
    const counted = compare(storm, { before, after, callSeconds: made!.seconds });
    const history = clientOf(system.url, HistoryService, users.at(-1)!.accessToken);
    const { messages } = await retrying(() =>
      history.getMessages({ conversationId, sequences: [sequence] }),
    );
    const stored = tallyOf(messages[0]?.state?.reactions ?? []);
    const exact = devices.filter(({ tally }) => tally === expected).length;
    const { rows, sequences } = await readLogCounts(system.logUrls);
    const share = benchShare({ cpu: used.cpu, elapsedS: used.seconds, cpus: machine.cpus });
    const faults = [...faultsOf("reactions", made!), ...counted.faults];
    if (stored !== expected) faults.push(`the message has ${stored} instead of ${expected}`);
    if (exact < devices.length)
      faults.push(`${devices.length - exact} devices do not have the exact counts`);
    if (rows !== sequences)
      faults.push(`${rows} rows, but the sum of the sequences is ${sequences}`);
    for (const { end } of devices)
      if (end !== undefined) faults.push(`a session ended with ${end}`);
    return {
      figures: {
        members: users.length,
        online: devices.length,
        instances: system.connectUrls.length,
        servers: system.servers,
        reactions,
        spread_s: seconds,
        answered_s: rounded(made!.seconds, 2),
        repeated: made!.repeated,
        answer_p50_ms: rounded(made!.latencies.percentile(0.5) / 1_000, 0),
        answer_p99_ms: rounded(made!.latencies.percentile(0.99) / 1_000, 0),
        ...counted.figures,
        deliveries: devices.reduce((sum, { entries }) => sum + entries, 0),
        exact_devices: exact,
        exact_after_last_answer_ms: rounded(settledMs, 0),
        costs: costFigures(
          new Map([["storm", costOf({ per: "reaction", count: reactions, used })]]),
        ),
        ...share.figures,
      },
      faults,
      limitedBy: share.limitedBy,
    };
  } finally {
    for (const device of devices) device.close();
  }
}

async function sendOne({ url }: System, { accessToken }: User, conversationId: string) {
  const { accepted } = await clientOf(url, MessageService, accessToken).send({
    target: { case: "conversationId", value: conversationId },
    clientMessageId: "target",
    content: { kind: { case: "text", value: { text: "react to this" } } },
  });
  return accepted!.sequence;
}

/** Opens a session for the first members, spread over the instances of connect. */
async function openDevices(
  { system, users, online }: ReactionStorm,
  target: Target,
): Promise<CountingDevice[]> {
  const decoder = new FrameDecoder();
  const devices: CountingDevice[] = [];
  const calls = users.slice(0, online).map(({ accessToken }, nth) => async () => {
    const address = system.connectUrls[nth % system.connectUrls.length]!;
    devices[nth] = await CountingDevice.open({ address, accessToken, target, decoder });
  });
  const [fault] = faultsOf("sessions", await callAll(calls, CONCURRENT_HANDSHAKES));
  if (fault === undefined) return devices;
  for (const device of Object.values(devices)) device.close();
  throw new Error(fault);
}

async function emptyOutbox({ logUrls }: System): Promise<void> {
  const untilMs = performance.now() + SETTLE_TIMEOUT_MS;
  while (performance.now() < untilMs && (await countOutbox(logUrls)) > 0) await pause(POLL_MS);
}

/** Waits until all devices have the counts, or for a time-out. Returns the time, ms. */
async function settled(devices: readonly CountingDevice[], expected: string): Promise<number> {
  const beganMs = performance.now();
  const isSettled = () => devices.every(({ tally }) => tally === expected);
  while (!isSettled() && performance.now() < beganMs + SETTLE_TIMEOUT_MS) await pause(POLL_MS);
  return performance.now() - beganMs;
}

async function readCounts({ logUrls, opsUrls }: System): Promise<Counts> {
  return {
    rows: await readTableRows(logUrls),
    envelopes: await sumOfMetric(opsUrls, "lucky_relay_publishes_total"),
  };
}

/** The rows and envelopes of the storm, and where they break their bounds. */
function compare(
  { system, reactions }: ReactionStorm,
  {
    before,
    after,
    callSeconds,
  }: { readonly before: Counts; readonly after: Counts; readonly callSeconds: number },
): { figures: Figures; faults: string[] } {
  const added = new Map(
    [...after.rows].map(([table, rows]) => [table, rows - (before.rows.get(table) ?? 0)]),
  );
  const of = (table: string) => added.get(table) ?? 0;
  const entries = of("entry");
  const envelopes = after.envelopes - before.envelopes;
  // An entry has at most 500 reactions. The last one of a transaction may have fewer, and a server starts a
  // transaction every 2 s.
  const transactions = system.servers * (Math.floor((callSeconds * 1_000) / SPACING_MS) + 1);
  const mostEntries = Math.floor(reactions / MAX_DELTAS) + transactions;
  const faults: string[] = [];
  if (entries < 1 || entries > mostEntries)
    faults.push(`${entries} entries, instead of at most ${mostEntries}`);
  if (of("reaction") !== reactions) faults.push(`${of("reaction")} rows of reactions`);
  if (of("message_state") !== 1) faults.push(`${of("message_state")} rows of states`);
  if (of("change") !== entries) faults.push(`${of("change")} rows of changes`);
  for (const [table, rows] of added) {
    const isOfEntries = ROWS_OF_ENTRIES.includes(table) && rows <= entries * MAX_ROWS_OF_ENTRY;
    if (rows > 0 && !isOfEntries && table !== "reaction" && table !== "message_state")
      faults.push(`${rows} rows were added to im.${table}`);
  }
  if (envelopes > entries * system.connectUrls.length)
    faults.push(`${envelopes} envelopes for ${entries} entries`);
  return {
    figures: {
      entries,
      most_entries: mostEntries,
      entries_per_server_and_2_s: rounded(
        entries / (system.servers * Math.max(1, (callSeconds * 1_000) / SPACING_MS)),
        2,
      ),
      envelopes,
      rows: Object.fromEntries([...added].filter(([, rows]) => rows !== 0)),
    },
    faults,
  };
}
