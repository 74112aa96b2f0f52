import { setTimeout as pause } from "node:timers/promises";
import type { Client } from "@connectrpc/connect";
import { ChangeService } from "#gen/lucky/message/v1/change_pb.js";
import type { Entry } from "#gen/lucky/message/v1/entry_pb.js";
import { HistoryService } from "#gen/lucky/message/v1/history_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { kindNumber } from "../../services/server/log/kinds.ts";
import { clientOf } from "../../test/world/people.ts";
import { type Figures, type Report, rounded } from "../command/report.ts";
import { costFigures } from "../cost/cost-table.ts";
import { type Cost, costOf, cpuDuring, type Used } from "../cost/costs.ts";
import type { Machine } from "../machine/machine.ts";
import type { Bench } from "../runs/bench.ts";
import { benchShare, bottlenecksOf } from "../runs/bottleneck.ts";
import { makeGroup } from "../system/groups.ts";
import { countOutbox, readKindCounts, readLogCounts } from "../system/log-counts.ts";
import type { System } from "../system/system.ts";
import type { User } from "../system/users.ts";
import { type Call, type CallsMade, callAll, faultsOf, retrying } from "./call-load.ts";
import { emojiOf, expectedTally, tallyOf } from "./reaction-tally.ts";

/** Share of the calls of each kind that warm the system up, and are not measured. */
const WARMUP_SHARE = 0.1;
/** Maximum messages of one GetMessages. */
const PAGE = 100;
const OUTBOX_TIMEOUT_MS = 30_000;

export interface ChangeLoad {
  readonly bench: Bench;
  readonly system: System;
  readonly machine: Machine;
  readonly users: readonly User[];
  /** Members of each group. */
  readonly groupSize: number;
  /** Messages, in all groups together. */
  readonly messages: number;
  /** Calls in flight. */
  readonly atOnce: number;
}

/** A user with clients of the services. */
interface Member {
  readonly userId: string;
  readonly messages: Client<typeof MessageService>;
  readonly changes: Client<typeof ChangeService>;
  readonly history: Client<typeof HistoryService>;
}

interface Group {
  readonly conversationId: string;
  readonly members: readonly Member[];
}

/** A message that is changed. Its number is unique among all. */
interface Message {
  readonly group: Group;
  readonly author: Member;
  readonly number: number;
  readonly sequence: bigint;
}

/**
 * Changes messages in small groups through the gateway, with no device online: each message is edited once,
 * then each member reacts to it, then its author recalls it. Each change is read back.
 */
export async function changeLoad(load: ChangeLoad): Promise<Report> {
  const { bench, system, groupSize, atOnce } = load;
  const groups = await makeGroups(load);
  const before = await readLogCounts(system.logUrls);
  bench.loadBegins();
  const messages = await sendAll(load, groups);
  const edits = await measure(load, messages.map(editOf));
  const reactions = await measure(
    load,
    Array.from({ length: groupSize }, (_, nth) =>
      messages.map((message) => reactionOf(message, nth)),
    ).flat(),
  );
  const faults = await readBack(groups, messages, (message, entry) =>
    textOf(entry) === editedText(message) &&
    entry.state!.editedAtMs > 0n &&
    tallyOf(entry.state!.reactions) === expectedTally(groupSize)
      ? undefined
      : "without its edit or with wrong counts of reactions",
  );
  const recalls = await measure(load, messages.map(recallOf));
  faults.push(
    ...(await readBack(groups, messages, ({ author }, { content, state }) =>
      content === undefined &&
      state?.recalled?.userId === author.userId &&
      state.reactions.length === 0
        ? undefined
        : "not recalled",
    )),
  );
  const measured = { edits, reactions, recalls };
  const costs = new Map<string, Cost>();
  const figures: Record<string, unknown> = {};
  for (const [name, { made, used, count }] of Object.entries(measured)) {
    faults.push(...faultsOf(name, made));
    costs.set(name, costOf({ per: name.slice(0, -1), count, used }));
    figures[`${name}_per_s`] = rounded(count / made.seconds);
    figures[`${name}_repeated`] = made.repeated;
    figures[`${name}_p50_ms`] = rounded(made.latencies.percentile(0.5) / 1_000, 2);
    figures[`${name}_p99_ms`] = rounded(made.latencies.percentile(0.99) / 1_000, 2);
  }
  const log = await readLog(load, before.rows);
  return {
    figures: {
      groups: groups.length,
      group_size: groupSize,
      messages: messages.length,
      at_once: atOnce,
      ...figures,
      ...log.figures,
      costs: costFigures(costs),
      bench_share: Object.fromEntries(
        Object.entries(measured).map(([name, { share }]) => [
          name,
          share.figures.generator_share_of_machine,
        ]),
      ),
    },
    faults: [...faults, ...log.faults],
    limitedBy: bottlenecksOf({
      edits: edits.share,
      reactions: reactions.share,
      recalls: recalls.share,
    }),
  };
}

async function makeGroups({ system, users, groupSize }: ChangeLoad): Promise<Group[]> {
  const groups: Group[] = [];
  for (let from = 0; from + groupSize <= users.length; from += groupSize) {
    const members = users.slice(from, from + groupSize);
    groups.push({
      conversationId: await makeGroup(system, members),
      members: members.map(({ userId, accessToken }) => ({
        userId,
        messages: clientOf(system.url, MessageService, accessToken),
        changes: clientOf(system.url, ChangeService, accessToken),
        history: clientOf(system.url, HistoryService, accessToken),
      })),
    });
  }
  return groups;
}

/** Sends the messages, round robin over the groups and their members. */
async function sendAll(
  { messages: count, atOnce }: ChangeLoad,
  groups: readonly Group[],
): Promise<Message[]> {
  const messages: Message[] = [];
  const calls = Array.from({ length: count }, (_, number) => async () => {
    const group = groups[number % groups.length]!;
    const author = group.members[Math.floor(number / groups.length) % group.members.length]!;
    const { accepted } = await author.messages.send({
      target: { case: "conversationId", value: group.conversationId },
      clientMessageId: `send-${number}`,
      content: { kind: { case: "text", value: { text: "x".repeat(128) } } },
    });
    messages[number] = { group, author, number, sequence: accepted!.sequence };
  });
  const [fault] = faultsOf("sends", await callAll(calls, atOnce));
  if (fault !== undefined) throw new Error(fault);
  return messages;
}

const editedText = ({ number }: Message) => `edited ${number} ${"y".repeat(128)}`;

function editOf(message: Message): Call {
  const { group, author, number, sequence } = message;
  return async () => {
    const { changedSequence } = await author.changes.editMessage({
      conversationId: group.conversationId,
      sequence,
      clientMessageId: `edit-${number}`,
      change: { case: "text", value: { text: editedText(message) } },
    });
    if (changedSequence <= sequence) throw new Error("the answer has a wrong changed_sequence");
  };
}

/** The reaction of the nth member. */
function reactionOf({ group, sequence }: Message, nth: number): Call {
  const emoji = emojiOf(nth);
  return async () => {
    const { changes } = group.members[nth]!;
    const call = { conversationId: group.conversationId, sequence, emojis: [emoji] };
    const { changedSequence, reactions } = await changes.setReactions(call);
    const count = reactions.find((one) => one.emoji === emoji)?.count ?? 0n;
    if (changedSequence <= sequence || count < 1n || count > BigInt(group.members.length))
      throw new Error("the answer has a wrong count");
  };
}

function recallOf({ group, author, sequence }: Message): Call {
  return async () => {
    const call = { conversationId: group.conversationId, sequences: [sequence], reason: "" };
    const { changedSequence } = await author.changes.recallMessages(call);
    // 0: the message had been recalled by an earlier attempt of this call.
    if (changedSequence > 0n && changedSequence <= sequence)
      throw new Error("the answer has a wrong changed_sequence");
  };
}

async function measure({ system, machine, atOnce }: ChangeLoad, calls: readonly Call[]) {
  const warm = Math.floor(calls.length * WARMUP_SHARE);
  const warmed = await callAll(calls.slice(0, warm), atOnce);
  let made: CallsMade | undefined;
  const used: Used = await cpuDuring(system.processes, async () => {
    made = await callAll(calls.slice(warm), atOnce);
  });
  const failures = { ...warmed.failures, ...made!.failures };
  return {
    made: { ...made!, failures },
    used,
    count: calls.length - warm,
    share: benchShare({ cpu: used.cpu, elapsedS: used.seconds, cpus: machine.cpus }),
  };
}

/** Reads all messages as the last member of each group. Returns the faults that `check` finds. */
async function readBack(
  groups: readonly Group[],
  messages: readonly Message[],
  check: (message: Message, entry: Entry) => string | undefined,
): Promise<string[]> {
  const wrong: Record<string, number> = {};
  for (const group of groups) {
    const own = messages.filter((message) => message.group === group);
    for (let from = 0; from < own.length; from += PAGE) {
      const page = own.slice(from, from + PAGE);
      const sequences = page.map(({ sequence }) => sequence);
      const call = { conversationId: group.conversationId, sequences };
      const reader = group.members.at(-1)!.history;
      const { messages: found } = await retrying(() => reader.getMessages(call));
      const entries = new Map(found.map((entry) => [entry.sequence, entry]));
      for (const message of page) {
        const entry = entries.get(message.sequence);
        const fault = entry === undefined ? "missing" : check(message, entry);
        if (fault !== undefined) wrong[fault] = (wrong[fault] ?? 0) + 1;
      }
    }
  }
  return Object.entries(wrong).map(([fault, count]) => `${count} messages are ${fault}`);
}

function textOf({ content }: Entry): string | undefined {
  return content?.kind.case === "text" ? content.kind.value.text : undefined;
}

/** Compares the log with the calls, once its outbox is empty. */
async function readLog(
  { system, messages, groupSize }: ChangeLoad,
  rowsBefore: number,
): Promise<{ figures: Figures; faults: string[] }> {
  const untilMs = performance.now() + OUTBOX_TIMEOUT_MS;
  while (performance.now() < untilMs && (await countOutbox(system.logUrls)) > 0) await pause(100);
  const { rows, sequences, outbox } = await readLogCounts(system.logUrls);
  const [edits = 0, recalls = 0, reactions = 0] = await readKindCounts(
    system.logUrls,
    (["edit", "recall", "reactions"] as const).map(kindNumber),
  );
  const faults: string[] = [];
  if (edits !== messages || recalls !== messages)
    faults.push(`${messages} messages have ${edits} edits and ${recalls} recalls in the log`);
  if (reactions < messages || reactions > messages * groupSize)
    faults.push(`${messages * groupSize} reactions have ${reactions} entries`);
  if (rows - rowsBefore !== messages + edits + recalls + reactions)
    faults.push(`${rows - rowsBefore} entries were added`);
  if (sequences !== rows) faults.push(`${rows} rows, but the sum of the sequences is ${sequences}`);
  if (outbox > 0) faults.push(`${outbox} rows are left in the outbox`);
  return { figures: { reactions: messages * groupSize, reaction_entries: reactions }, faults };
}
