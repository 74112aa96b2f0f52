import assert from "node:assert/strict";
import type { RunningServer } from "../../services/server/server.fixture.ts";
import { isMessage, type MessageState, type ModelEntry } from "./message-state.ts";
import { type Conversation, endOf, isMember, push } from "./model.ts";
import { EMOJIS, type Step } from "./steps.ts";

/** A change of one message, or of several. */
export type Change =
  | { readonly kind: "edit"; readonly key: string; readonly text: string }
  | { readonly kind: "recall"; readonly alsoBefore: number }
  | { readonly kind: "react"; readonly emojis: readonly string[] }
  | { readonly kind: "pin" }
  | { readonly kind: "unpin" }
  | { readonly kind: "deleteForMe" };

/** The expected answer: one of these refusals, or success when there are none. */
export interface Verdict {
  readonly refusals: readonly string[];
}

const OK: Verdict = { refusals: [] };
const refused = (...refusals: string[]): Verdict => ({ refusals });

/** Sequences of the messages that a change affects: the target, and for a recall also messages before it. */
export function targetsOf(change: Change, sequence: number): number[] {
  const count = change.kind === "recall" ? change.alsoBefore + 1 : 1;
  return Array.from({ length: count }, (_, at) => sequence - at).filter((one) => one > 0);
}

/** The change that a step makes; `key` is the client_message_id of an edit. */
export function changeOf(
  { what, emojis, nth }: Extract<Step, { kind: "change" }>,
  key: string,
): Change {
  switch (what) {
    case "edit":
      return { kind: "edit", key, text: `edited by ${key}` };
    case "recall":
      return { kind: "recall", alsoBefore: nth % 3 };
    case "react":
      return { kind: "react", emojis: emojis.map((at) => EMOJIS[at]!) };
    default:
      return { kind: what };
  }
}

/** The call that makes a change of `user`. */
export function callOf(
  change: Change,
  {
    user,
    conversationId,
    sequence: at,
  }: { user: string; conversationId: string; sequence: number },
): (server: RunningServer) => Promise<unknown> {
  const target = { conversationId, sequence: BigInt(at) };
  const sequences = targetsOf(change, at).map(BigInt);
  return (server) => {
    const changes = server.changes(user);
    switch (change.kind) {
      case "edit": {
        const { key: clientMessageId, text } = change;
        const edit = { case: "text", value: { text } } as const;
        return changes.editMessage({ ...target, clientMessageId, change: edit });
      }
      case "recall":
        return changes.recallMessages({ conversationId, sequences });
      case "react":
        return changes.setReactions({ ...target, emojis: [...change.emojis] });
      case "pin":
        return changes.pinMessage(target);
      case "unpin":
        return changes.unpinMessage(target);
      case "deleteForMe":
        return changes.deleteForMe({ conversationId, sequences });
    }
  };
}

/** The texts by which the model describes entries that hold changes. */
export const changeText = {
  edit: (target: number, text: string | undefined) =>
    text === undefined ? `change: edit ${target}` : `change: edit ${target} to ${text}`,
  recall: (targets: readonly number[]) => `change: recall ${targets.join(" ")}`,
  reactions: (
    target: number,
    counts: readonly (readonly [string, number])[],
    deltas: readonly string[],
  ) => {
    const all = counts.map(([emoji, count]) => `${emoji}${count}`).join(" ");
    return `change: reactions ${target} ${all} by ${[...deltas].sort().join(" ")}`;
  },
  pin: (target: number) => `change: pin ${target}`,
  unpin: (target: number) => `change: unpin ${target}`,
};

/** Applies a change of a user to the model. Returns the expected answer. */
export function applyChange(
  conversation: Conversation,
  { user, sequence, change }: { user: string; sequence: number; change: Change },
): Verdict {
  const place = conversation.places.get(user);
  const member = isMember(conversation, user);
  if (place === undefined || (!member && change.kind !== "deleteForMe"))
    return refused("CONVERSATION_NOT_FOUND");
  const visible = (at: number): ModelEntry | undefined => {
    const entry = conversation.log[at - 1];
    if (at < place.first || at > endOf(conversation, place) || entry === undefined)
      return undefined;
    return entry.deletedFor.has(user) ? undefined : entry;
  };
  if (change.kind === "deleteForMe") {
    const entry = visible(sequence);
    if (entry !== undefined && isMessage(entry)) entry.deletedFor.add(user);
    return OK;
  }
  const targets = targetsOf(change, sequence);
  const entries = targets.map(visible);
  if (!entries.every((entry) => entry !== undefined && isMessage(entry)))
    return refused("MESSAGE_NOT_FOUND");
  const states = entries.map((entry) => entry!.state!);
  const [state] = states as [MessageState];
  const context: Context = { conversation, user, sequence, state };
  if (change.kind === "recall") {
    const remaining = targets.filter((_, at) => states[at]!.recalledBy === undefined);
    const mayRecall = (at: number) =>
      conversation.log[at - 1]!.sender === user || conversation.owner === user;
    if (!remaining.every(mayRecall)) return refused("CHANGE_DENIED");
    return remaining.length === 0 ? OK : recall(context, remaining);
  }
  // A recalled message has no pin: unpinning it changes nothing.
  if (state.recalledBy !== undefined && change.kind !== "unpin")
    return refused("MESSAGE_RECALLED", "CHANGE_DENIED");
  switch (change.kind) {
    case "edit":
      return entries[0]!.sender === user ? edit(context, change) : refused("CHANGE_DENIED");
    case "react":
      return react(context, change.emojis);
    default:
      return pin(context, change.kind === "pin");
  }
}

/** Asserts that all answers to a change match a verdict. An answer is a refusal; undefined is success. */
export function mustAnswer(
  answers: readonly (string | undefined)[],
  { refusals }: Verdict,
  change: Change,
): void {
  for (const answer of answers) {
    const isRight = refusals.length === 0 ? !answer : refusals.includes(answer ?? "");
    assert.ok(isRight, `${JSON.stringify(change)}: ${answer} instead of ${refusals}`);
  }
}

interface Context {
  readonly conversation: Conversation;
  readonly user: string;
  readonly sequence: number;
  readonly state: MessageState;
}

function write(conversation: Conversation, user: string, text: string, key = ""): number {
  return push(conversation, { sender: user, key, text, state: undefined });
}

/** Removes the text from the entries of earlier edits. */
function supersede(conversation: Conversation, target: number): void {
  const prefix = changeText.edit(target, undefined);
  for (const [at, entry] of conversation.log.entries())
    if (entry.text.startsWith(`${prefix} `)) conversation.log[at] = { ...entry, text: prefix };
}

function edit(
  { conversation, user, sequence, state }: Context,
  { key, text }: { key: string; text: string },
): Verdict {
  supersede(conversation, sequence);
  const changed = write(conversation, user, changeText.edit(sequence, text), key);
  Object.assign(state, { text, changed, edits: state.edits + 1, mentions: [] });
  state.versions.push({ sequence: changed, text });
  return { refusals: [] };
}

function recall({ conversation, user }: Context, targets: readonly number[]): Verdict {
  const ascending = [...targets].sort((a, b) => a - b);
  const changed = write(conversation, user, changeText.recall(ascending));
  for (const target of ascending) {
    supersede(conversation, target);
    const { state } = conversation.log[target - 1]!;
    Object.assign(state!, { recalledBy: user, changed, pinned: 0, mentions: [] });
    state!.reactions.clear();
  }
  return { refusals: [] };
}

function react(
  { conversation, user, sequence, state }: Context,
  emojis: readonly string[],
): Verdict {
  const now = new Set(emojis);
  const deltas: string[] = [];
  for (const [emoji, users] of state.reactions)
    if (users.has(user) && !now.has(emoji)) {
      users.delete(user);
      deltas.push(`-${user}${emoji}`);
    }
  for (const emoji of now) {
    const users = state.reactions.get(emoji) ?? new Set();
    if (users.has(user)) continue;
    state.reactions.set(emoji, users.add(user));
    deltas.push(`+${user}${emoji}`);
  }
  if (deltas.length === 0) return OK;
  for (const [emoji, users] of state.reactions) if (users.size === 0) state.reactions.delete(emoji);
  const counts = [...state.reactions].map(([emoji, users]) => [emoji, users.size] as const);
  state.changed = write(conversation, user, changeText.reactions(sequence, counts, deltas));
  return { refusals: [] };
}

function pin({ conversation, user, sequence, state }: Context, pinned: boolean): Verdict {
  const isGroup = conversation.pair === undefined;
  if (isGroup && conversation.owner !== user) return refused("CHANGE_DENIED");
  if (pinned === state.pinned > 0) return OK;
  const text = pinned ? changeText.pin(sequence) : changeText.unpin(sequence);
  state.changed = write(conversation, user, text);
  state.pinned = pinned ? state.changed : 0;
  return { refusals: [] };
}
