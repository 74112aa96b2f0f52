import { create } from "@bufbuild/protobuf";
import {
  type Content,
  ContentSchema,
  type ReactionCount,
  ReactionCountSchema,
  type Reactions_Delta,
  Reactions_DeltaSchema,
} from "../../gen/lucky/message/v1/content_pb.js";
import {
  type Entry,
  EntrySchema,
  type MessageState,
  MessageStateSchema,
} from "../../gen/lucky/message/v1/entry_pb.js";

/** An event in the conversation of the model. `message` is an index, modulo the number of messages. */
export type Event =
  | { readonly kind: "send" | "image" | "tip" | "unknown" }
  | { readonly kind: "edit" | "pin" | "unpin"; readonly message: number }
  | { readonly kind: "recall"; readonly messages: readonly number[] }
  | {
      readonly kind: "react";
      readonly message: number;
      /** The whole set of each user. */
      readonly sets: readonly { readonly user: number; readonly emojis: readonly string[] }[];
    };

interface Message {
  text: string;
  mentions: string[];
  editedAtMs: bigint;
  lastEdit: bigint;
  changedSequence: bigint;
  recalled: { userId: string; atMs: bigint; reason: string } | undefined;
  pinnedSequence: bigint;
  /** By user, in the order of their reactions. */
  readonly reactions: Map<string, Set<string>>;
}

/** A conversation as a server keeps it: a log, and the state of each message beside it. */
export class LogModel {
  readonly #userId: string;
  readonly #entries = new Map<bigint, Entry>();
  readonly #messages = new Map<bigint, Message>();
  #last = 0n;

  /** `userId`: the user who reads. */
  constructor(userId: string) {
    this.#userId = userId;
  }

  get lastSequence(): bigint {
    return this.#last;
  }

  /** Sequences of the messages and tips. */
  get lines(): bigint[] {
    return [...this.#entries.keys()].filter((sequence) => !this.#entries.get(sequence)!.notShown);
  }

  /** Makes something happen; nothing when its message is none, or was recalled. */
  take(event: Event): void {
    switch (event.kind) {
      case "send":
        this.#send({ kind: { case: "text", value: { text: `m${this.#last}` } } });
        return;
      case "image": {
        const media = { source: { case: "url", value: "https://a/b" } } as const;
        this.#send({ kind: { case: "image", value: { media, caption: `m${this.#last}` } } });
        return;
      }
      case "tip":
        this.#append({
          content: { kind: { case: "tip", value: { kind: { case: "memberRemoved", value: {} } } } },
        });
        return;
      case "unknown":
        this.#append({ content: {}, notShown: true });
        return;
      case "recall": {
        const targets = event.messages.map((at) => this.#target(at)).filter((one) => one);
        this.#recall([...new Set(targets as bigint[])].sort((a, b) => Number(a - b)));
        return;
      }
      default: {
        const target = this.#target(event.message);
        if (target === undefined) return;
        if (event.kind === "edit") this.#edit(target);
        else if (event.kind === "react") this.#react(target, event.sets);
        else this.#pin(target, event.kind);
      }
    }
  }

  /** An entry as the bus delivers it now: with its current content, and without a state. */
  delivered(sequence: bigint): Entry {
    return this.#entries.get(sequence)!;
  }

  /** An entry as a call returns it now. */
  read(sequence: bigint): Entry {
    const entry = this.#entries.get(sequence)!;
    const state = this.#stateOf(sequence);
    return state ? { ...entry, state } : entry;
  }

  /** The messages of a range that changed after a sequence, by changed_sequence. */
  changed({ low, high, after }: { low: bigint; high: bigint; after: bigint }): Entry[] {
    return [...this.#messages]
      .filter(([at, { changedSequence }]) => at >= low && at <= high && changedSequence > after)
      .sort(([, a], [, b]) => Number(a.changedSequence - b.changedSequence))
      .map(([sequence]) => this.read(sequence));
  }

  /** The page of at most `size` messages before a sequence. */
  before(before: bigint, size: number) {
    const older = this.lines.filter((sequence) => sequence < before).slice(-size);
    const isFull = older.length === size;
    const high = before - 1n < this.#last ? before - 1n : this.#last;
    const messages = older.map((sequence) => this.read(sequence));
    return { messages, low: isFull ? older[0]! : 1n, high, exactTo: this.#last };
  }

  /** Sequence of the last change of a message; 0: none. */
  changedSequence(sequence: bigint): bigint {
    return this.#messages.get(sequence)?.changedSequence ?? 0n;
  }

  /** A message of the users that was not recalled. */
  #target(at: number): bigint | undefined {
    const sequences = [...this.#messages.keys()];
    const sequence = sequences[at % (sequences.length || 1)];
    if (sequence === undefined || this.#messages.get(sequence)!.recalled) return undefined;
    return sequence;
  }

  #append(entry: Parameters<typeof create<typeof EntrySchema>>[1]): bigint {
    const sequence = ++this.#last;
    const place = { conversationId: "11", sequence, acceptedAtMs: sequence * 10n, senderId: "2" };
    this.#entries.set(sequence, create(EntrySchema, { ...place, ...entry }));
    return sequence;
  }

  #change(kind: Content["kind"], ...targets: bigint[]): bigint {
    const content = create(ContentSchema, { kind });
    const sequence = this.#append({ content, notShown: true, notCounted: true });
    for (const target of targets) this.#messages.get(target)!.changedSequence = sequence;
    return sequence;
  }

  #send(content: Parameters<typeof create<typeof ContentSchema>>[1]): void {
    const mentionedUserIds = ["9"];
    const sequence = this.#append({ content, clientMessageId: `k${this.#last}`, mentionedUserIds });
    this.#messages.set(sequence, {
      ...{ text: `m${sequence - 1n}`, mentions: mentionedUserIds, editedAtMs: 0n, lastEdit: 0n },
      ...{ changedSequence: 0n, recalled: undefined, pinnedSequence: 0n, reactions: new Map() },
    });
  }

  #edit(target: bigint): void {
    const message = this.#messages.get(target)!;
    const text = `e${this.#last}`;
    const { content } = this.#entries.get(target)!;
    const isText = content?.kind.case === "text";
    this.#supersede(message);
    const mentions = [String(this.#last)];
    const edit = create(ContentSchema, {
      kind: {
        case: "edit",
        value: {
          targetSequence: target,
          mentionedUserIds: mentions,
          change: isText ? { case: "text", value: { text } } : { case: "caption", value: text },
        },
      },
    });
    message.lastEdit = this.#change(edit.kind, target);
    message.editedAtMs = message.lastEdit * 10n;
    Object.assign(message, { text, mentions });
    this.#write(target);
  }

  #recall(targets: readonly bigint[]): void {
    if (targets.length === 0) return;
    const reason = `r${this.#last}`;
    const recall = create(ContentSchema, {
      kind: { case: "recall", value: { targetSequences: [...targets], reason } },
    });
    const sequence = this.#change(recall.kind, ...targets);
    for (const target of targets) {
      const message = this.#messages.get(target)!;
      this.#supersede(message);
      message.recalled = { userId: "2", atMs: sequence * 10n, reason };
      this.#write(target);
    }
  }

  #pin(target: bigint, kind: "pin" | "unpin"): void {
    const message = this.#messages.get(target)!;
    if (message.pinnedSequence > 0n === (kind === "pin")) return;
    const content = create(ContentSchema, {
      kind: { case: kind, value: { targetSequence: target } },
    });
    const sequence = this.#change(content.kind, target);
    message.pinnedSequence = kind === "pin" ? sequence : 0n;
  }

  #react(target: bigint, sets: readonly { user: number; emojis: readonly string[] }[]): void {
    const message = this.#messages.get(target)!;
    const deltas: Reactions_Delta[] = [];
    for (const { user, emojis } of sets) {
      const userId = String(user);
      const before = message.reactions.get(userId) ?? new Set<string>();
      const after = new Set(emojis);
      const delta = (emoji: string, added: boolean) =>
        deltas.push(create(Reactions_DeltaSchema, { userId, emoji, added }));
      for (const emoji of before) if (!after.has(emoji)) delta(emoji, false);
      for (const emoji of after) if (!before.has(emoji)) delta(emoji, true);
      message.reactions.set(userId, after);
    }
    if (deltas.length === 0) return;
    const value = { targetSequence: target, counts: countsOf(message), deltas };
    this.#change(create(ContentSchema, { kind: { case: "reactions", value } }).kind, target);
  }

  /** Removes the text of the message's last edit from its entry. */
  #supersede({ lastEdit }: Message): void {
    const entry = this.#entries.get(lastEdit);
    if (entry?.content?.kind.case !== "edit") return;
    const { targetSequence } = entry.content.kind.value;
    const content = create(ContentSchema, { kind: { case: "edit", value: { targetSequence } } });
    this.#entries.set(lastEdit, { ...entry, content });
  }

  /** Writes what a message says now to its entry. */
  #write(sequence: bigint): void {
    const { text, mentions, recalled } = this.#messages.get(sequence)!;
    const entry = this.#entries.get(sequence)!;
    if (recalled) {
      const { conversationId, acceptedAtMs, senderId, clientMessageId } = entry;
      const place = { conversationId, sequence, acceptedAtMs, senderId, clientMessageId };
      this.#entries.set(sequence, create(EntrySchema, place));
      return;
    }
    const content =
      entry.content!.kind.case === "text"
        ? { kind: { case: "text", value: { text } } as const }
        : {
            kind: {
              case: "image",
              value: { ...(entry.content!.kind.value as object), caption: text },
            } as const,
          };
    const written = { ...entry, content: create(ContentSchema, content) };
    this.#entries.set(sequence, { ...written, mentionedUserIds: mentions });
  }

  #stateOf(sequence: bigint): MessageState | undefined {
    const message = this.#messages.get(sequence);
    if (!message || message.changedSequence === 0n) return undefined;
    const { changedSequence, recalled } = message;
    if (recalled) return create(MessageStateSchema, { changedSequence, recalled });
    const { editedAtMs, pinnedSequence, reactions } = message;
    return create(MessageStateSchema, {
      ...{ changedSequence, editedAtMs, pinnedSequence, reactions: countsOf(message) },
      myReactions: [...(reactions.get(this.#userId) ?? [])].sort((a, b) =>
        Buffer.compare(Buffer.from(a), Buffer.from(b)),
      ),
    });
  }
}

function countsOf({ reactions }: Message): ReactionCount[] {
  const emojis = new Set([...reactions.values()].flatMap((set) => [...set]));
  return [...emojis].sort().map((emoji) => {
    const users = [...reactions].filter(([, set]) => set.has(emoji)).map(([userId]) => userId);
    const recentUserIds = users.toReversed().slice(0, 3);
    return create(ReactionCountSchema, { emoji, count: BigInt(users.length), recentUserIds });
  });
}
