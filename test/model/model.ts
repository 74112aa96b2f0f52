import assert from "node:assert/strict";

import { isMessage, type ModelEntry, newState, shownText, unreadOf } from "./message-state.ts";

/** A send, as a device asks for it. */
export interface Attempt {
  readonly sender: string;
  /** Another user, or a group. */
  readonly to: { readonly peer: string } | { readonly group: string };
  readonly key: string;
  readonly text: string;
  /** Users whom it mentions. */
  readonly mentions: readonly string[];
  /** Whether it repeats the key of a recalled message: then any content gets the first answer. */
  readonly repeatsRecalled?: boolean;
}

/** The server's answer to an attempt. */
export type Outcome =
  | { readonly conversationId: string; readonly sequence: number; readonly messageId: string }
  | { readonly refused: string };

/** A conversation as a user sees it. */
export interface View {
  readonly conversationId: string;
  readonly peer: string;
  readonly first: number;
  readonly last: number;
  readonly lastText: string;
  readonly unread: number;
  readonly mentions: number;
  readonly delivered: number;
  readonly read: number;
  readonly member: boolean;
  readonly peerDelivered: number;
  readonly peerRead: number;
}

/** A user's place in a conversation. Sequences; `left` is 0 for a member. */
export interface Place {
  first: number;
  left: number;
  delivered: number;
  read: number;
}

export interface Conversation {
  /** Undefined for a direct conversation without messages. */
  id: string | undefined;
  /** The users of a direct conversation, or the owner of a group. */
  readonly pair: readonly [string, string] | undefined;
  readonly owner: string;
  readonly places: Map<string, Place>;
  /** The entry of sequence n is at n - 1. */
  readonly log: ModelEntry[];
  /** By sender and key: the position of the message. */
  readonly keys: Map<string, { sequence: number; messageId: string; attempt: Attempt }>;
}

/**
 * Model of the system, in plain code and without any storage, delivery or failure: conversations
 * are lists, and members have places in them. Every answer is determined, with two exceptions:
 * concurrent sends are stored in any order, and one of two texts with the same key is stored.
 */
export class Model {
  readonly #directs = new Map<string, Conversation>();
  readonly #groups = new Map<string, Conversation>();
  readonly #known: (userId: string) => boolean;

  /** `known` decides whether a user exists. */
  constructor(known: (userId: string) => boolean) {
    this.#known = known;
  }

  /** Ids of the groups, the oldest first. */
  get groupIds(): string[] {
    return [...this.#groups.keys()];
  }

  /** Applies sends that ran concurrently, and checks their outcomes. */
  sent(sends: readonly { attempt: Attempt; outcome: Outcome }[]): void {
    const byConversation = Map.groupBy(sends, ({ attempt }) => this.#conversationOf(attempt));
    for (const [conversation, theirs] of byConversation) {
      const fresh = conversation ? theirs.filter((send) => isFresh(conversation, send)) : theirs;
      if (conversation === undefined)
        for (const { outcome } of fresh) assert.deepEqual(outcome, { refused: "USER_NOT_FOUND" });
      else applyFresh(conversation, fresh);
    }
  }

  groupCreated(group: { groupId: string; owner: string; users: readonly string[] }): void {
    const { groupId, owner } = group;
    const users = [...new Set([owner, ...group.users])];
    assert.ok(!this.#groups.has(groupId), `group ${groupId} was created twice`);
    const places = new Map(users.map((user) => [user, place(1)]));
    const log: ModelEntry[] = [];
    const made = { id: groupId, pair: undefined, owner, places, log, keys: new Map() };
    this.#groups.set(groupId, made);
    pushTip(made, owner, tipText("groupCreated", users));
  }

  /** Adds users to a group. Returns why the server must refuse that, if it must. */
  membersAdded(groupId: string, caller: string, users: readonly string[]): string | undefined {
    const group = this.#groups.get(groupId)!;
    const refusal = refusalOf(group, caller, caller === group.owner);
    if (refusal !== undefined) return refusal;
    const added = [...new Set(users)].filter((user) => !isMember(group, user));
    if (added.length === 0) return undefined;
    const sequence = pushTip(group, caller, tipText("membersAdded", added));
    for (const user of added) group.places.set(user, place(sequence));
    return undefined;
  }

  /** Removes a user from a group. Returns why the server must refuse that, if it must. */
  memberRemoved(groupId: string, caller: string, user: string): string | undefined {
    const group = this.#groups.get(groupId)!;
    const at = group.places.get(user);
    // A user who has left may leave again, without effect.
    if (caller === user && at !== undefined && !isMember(group, user)) return undefined;
    const allowed = (caller === group.owner) !== (caller === user);
    const refusal = refusalOf(group, caller, allowed);
    if (refusal !== undefined) return refusal;
    if (at === undefined) return "NOT_A_MEMBER";
    if (isMember(group, user)) at.left = pushTip(group, caller, tipText("memberRemoved", [user]));
    return undefined;
  }

  /** Moves cursors of a user forward, at most to the end of what the user may see. */
  acknowledged(
    user: string,
    conversationId: string,
    to: { delivered: number; read: number },
  ): void {
    const conversation = this.#byId(conversationId);
    const at = conversation?.places.get(user);
    if (conversation === undefined || at === undefined) return;
    const end = endOf(conversation, at);
    at.read = Math.max(at.read, Math.min(to.read, end));
    at.delivered = Math.max(at.delivered, Math.min(to.delivered, end), at.read);
  }

  /** Whether the key of an attempt is that of a recalled message. */
  repeatsRecalled(attempt: Attempt): boolean {
    const conversation = this.#conversationOf(attempt);
    const known = conversation?.keys.get(`${attempt.sender} ${attempt.key}`);
    return conversation?.log[(known?.sequence ?? 0) - 1]?.state?.recalledBy !== undefined;
  }

  /** The conversation with an id. */
  conversation(id: string): Conversation {
    return this.#byId(id)!;
  }

  ownerOf(groupId: string): string {
    return this.#groups.get(groupId)!.owner;
  }

  /** The conversations of a user, by ascending id. */
  viewsOf(user: string): View[] {
    const views: View[] = [];
    for (const conversation of [...this.#directs.values(), ...this.#groups.values()]) {
      const at = conversation.places.get(user);
      if (conversation.id !== undefined && at !== undefined)
        views.push(viewOf(conversation, conversation.id, user, at));
    }
    return views.sort((a, b) => (BigInt(a.conversationId) < BigInt(b.conversationId) ? -1 : 1));
  }

  /** The entries of a conversation that a view shows. */
  entriesOf({ conversationId, first, last }: View): readonly ModelEntry[] {
    return this.#byId(conversationId)!.log.slice(first - 1, last);
  }

  /** The cursors of a conversation's members, by ascending user id. */
  receiptsOf(conversationId: string): { user: string; delivered: number; read: number }[] {
    return [...this.#byId(conversationId)!.places]
      .filter(([, { left }]) => left === 0)
      .map(([user, { delivered, read }]) => ({ user, delivered, read }))
      .sort((a, b) => Number(a.user) - Number(b.user));
  }

  #byId(id: string): Conversation | undefined {
    return this.#groups.get(id) ?? [...this.#directs.values()].find((one) => one.id === id);
  }

  /** Undefined for a direct conversation with a user who does not exist. */
  #conversationOf({ sender, to }: Attempt): Conversation | undefined {
    if ("group" in to) return this.#groups.get(to.group)!;
    if (!this.#known(to.peer)) return undefined;
    const pair = [sender, to.peer].sort() as [string, string];
    const name = pair.join(":");
    const known = this.#directs.get(name);
    if (known !== undefined) return known;
    const places = new Map(pair.map((user) => [user, place(1)]));
    const made = { id: undefined, pair, owner: "", places, log: [], keys: new Map() };
    this.#directs.set(name, made);
    return made;
  }
}

interface Send {
  readonly attempt: Attempt;
  readonly outcome: Outcome;
}

/** Checks the outcome of a send that the log decides already; true for any other. */
function isFresh(conversation: Conversation, { attempt, outcome }: Send): boolean {
  const { sender, key, text } = attempt;
  const known = conversation.keys.get(`${sender} ${key}`);
  if (known !== undefined) {
    const { sequence, messageId } = known;
    const first = { conversationId: conversation.id, sequence, messageId };
    const isRecalled = conversation.log[sequence - 1]?.state?.recalledBy !== undefined;
    const expected = isRecalled || known.attempt.text === text ? first : { refused: "KEY_REUSED" };
    assert.deepEqual(outcome, expected, `a repeated send of ${key}`);
    return false;
  }
  if (!isMember(conversation, sender)) {
    assert.deepEqual(outcome, { refused: "NOT_A_MEMBER" }, `a send of ${sender}, who is no member`);
    return false;
  }
  if (attempt.mentions.every((user) => isMember(conversation, user))) return true;
  assert.deepEqual(outcome, { refused: "MENTION_INVALID" }, `a mention of ${attempt.mentions}`);
  return false;
}

/** Applies concurrent sends of members, with keys that are not in the log. */
function applyFresh(conversation: Conversation, sends: readonly Send[]): void {
  const stored = new Map<number, { attempt: Attempt; messageId: string }>();
  for (const theirs of Map.groupBy(sends, keyOf).values()) {
    const winner = theirs.find(({ outcome }) => "sequence" in outcome);
    assert.ok(winner && "sequence" in winner.outcome, `a member's send: ${texts(theirs)}`);
    const { sequence, messageId, conversationId } = winner.outcome;
    conversation.id ??= conversationId;
    assert.equal(conversationId, conversation.id, "a conversation keeps its id");
    assert.ok(!stored.has(sequence), `two sends at ${conversationId}/${sequence}`);
    stored.set(sequence, { attempt: winner.attempt, messageId });
    const { sender, key } = winner.attempt;
    conversation.keys.set(`${sender} ${key}`, { sequence, messageId, attempt: winner.attempt });
    for (const send of theirs) isFresh(conversation, send);
  }
  const sequences = [...stored.keys()].sort((a, b) => a - b);
  const { length } = conversation.log;
  assert.deepEqual(
    sequences,
    sequences.map((_, at) => length + 1 + at),
    `the next sequences of ${conversation.id}`,
  );
  for (const sequence of sequences) {
    const { sender, key, text, mentions } = stored.get(sequence)!.attempt;
    push(conversation, { sender, key, text, state: newState(text, mentions) });
  }
}

function keyOf({ attempt: { sender, key } }: Send): string {
  return `${sender} ${key}`;
}

function texts(sends: readonly Send[]): string {
  return JSON.stringify(sends.map(({ outcome }) => outcome));
}

/** Appends an entry; returns its sequence. */
export function push(
  conversation: Conversation,
  entry: Omit<ModelEntry, "sequence" | "deletedFor">,
): number {
  const sequence = conversation.log.length + 1;
  conversation.log.push({ ...entry, sequence, deletedFor: new Set() });
  return sequence;
}

/** Appends a tip; returns its sequence. */
function pushTip(conversation: Conversation, sender: string, text: string): number {
  return push(conversation, { sender, key: "", text, state: undefined });
}

/** The place of a user who sees the log from a sequence on. */
function place(first: number): Place {
  return { first, left: 0, delivered: first - 1, read: first - 1 };
}

export function isMember({ places }: Conversation, user: string): boolean {
  return places.get(user)?.left === 0;
}

function refusalOf(group: Conversation, caller: string, allowed: boolean): string | undefined {
  if (!isMember(group, caller)) return "CONVERSATION_NOT_FOUND";
  return allowed ? undefined : "PERMISSION_DENIED";
}

export function endOf({ log }: Conversation, { left }: Place): number {
  return left > 0 ? left : log.length;
}

function viewOf(conversation: Conversation, conversationId: string, user: string, at: Place): View {
  const { pair, places, log } = conversation;
  const last = endOf(conversation, at);
  const peer = pair?.find((one) => one !== user);
  const theirs = peer === undefined ? undefined : places.get(peer);
  const after = Math.max(at.read, at.first - 1);
  const unread = unreadOf(log.slice(after, last), user, at.left);
  const shown = log.slice(at.first - 1, last).findLast((entry) => {
    const isLine = isMessage(entry) || isTip(entry);
    return isLine && !entry.deletedFor.has(user);
  });
  return {
    conversationId,
    peer: peer ?? "0",
    first: at.first,
    last,
    lastText: shown === undefined ? "" : shownText(shown, at.left),
    ...unread,
    delivered: at.delivered,
    read: at.read,
    member: at.left === 0,
    peerDelivered: theirs?.delivered ?? 0,
    peerRead: theirs?.read ?? 0,
  };
}

const TIP = "tip: ";

export const isTip = ({ text, state }: Pick<ModelEntry, "text" | "state">) =>
  state === undefined && text.startsWith(TIP);

/** The text of a tip: its kind, and the users who joined or left. */
export function tipText(kind: string, users: readonly string[]): string {
  return `${TIP}${kind} ${[...users].sort().join(" ")}`;
}
