import type { EntryEvent, HistoryEvent, QuietEvent, SendEvent, SentEvent } from "./events.ts";

/** A position of a log, as the first event that names it has it. */
interface Position {
  readonly sender: string;
  readonly key: string;
  readonly message: string;
  readonly hash: string;
  readonly joined: readonly string[];
  readonly left: readonly string[];
}

/** From the sequence at which a user joined a conversation to the one at which the user left it. */
interface Span {
  readonly first: number;
  readonly last: number;
}

const FOREVER = Number.POSITIVE_INFINITY;

/**
 * Returns every broken promise of a history, one sentence each; empty when there is none:
 *
 * - every accepted send is in the log, at the position and with the content that was accepted;
 * - no message is in the log twice, and no client shows an entry twice;
 * - every client shows the same entry at the same position;
 * - when the system is quiet, each client has all entries that its user may see, without a gap;
 * - no client shows an entry from outside its user's membership. While deliveries are lost, the news
 *   that a user has left may be late: then a pushed entry is tolerated until the next quiet moment;
 * - the log has nothing that nobody sent.
 *
 * It knows only the history: no code and no state of the server or of the model.
 */
export function checkHistory(events: Iterable<HistoryEvent>): string[] {
  const check = new Check();
  for (const event of events) check.take(event);
  return check.findings;
}

class Check {
  readonly findings: string[] = [];
  readonly #sends = new Map<number, SendEvent>();
  /** By sender, key and hash: the sends that were not refused. */
  readonly #open = new Map<string, number>();
  /** By conversation and sequence. */
  readonly #log = new Map<string, Map<number, Position>>();
  /** By conversation, sender and key: the sequence. */
  readonly #keys = new Map<string, string>();
  /** By message id: the position. */
  readonly #messages = new Map<string, string>();
  /** By direct conversation: its users. */
  readonly #directs = new Map<string, ReadonlySet<string>>();
  /** By client and conversation: the sequences that it shows. */
  readonly #shown = new Map<string, Map<string, Set<number>>>();
  /** Shown entries whose membership is checked at the next quiet moment, when all tips are known. */
  #unchecked: EntryEvent[] = [];
  /** Client and conversation, where the client has skipped entries. */
  readonly #jumped = new Set<string>();
  #faulty = false;

  take(event: HistoryEvent): void {
    switch (event.kind) {
      case "send":
        this.#send(event);
        return;
      case "sent":
        this.#sent(event);
        return;
      case "conversation":
        this.#pair(event.conversation, event.user, event.peer);
        return;
      case "entry":
        this.#entry(event);
        return;
      case "fault":
        this.#faulty = true;
        return;
      case "quiet":
        this.#quiet(event);
        return;
      case "jump":
        this.#jumped.add(`${event.client} ${event.conversation}`);
        return;
      case "cursor":
        return;
    }
  }

  #send(event: SendEvent): void {
    this.#sends.set(event.op, event);
    this.#count(event, 1);
  }

  #sent(event: SentEvent): void {
    const send = this.#sends.get(event.op);
    if (send === undefined) {
      this.findings.push(`the answer ${event.op} has no send`);
      return;
    }
    if (event.outcome === "unknown") return;
    const { user: sender, key, hash, to } = send;
    if (event.outcome === "refused") {
      this.#count(send, -1);
      return;
    }
    const { conversation, sequence, message } = event;
    if ("user" in to) this.#pair(conversation, sender, to.user);
    else if (to.conversation !== conversation)
      this.findings.push(`a send to ${to.conversation} was accepted in ${conversation}`);
    this.#place(conversation, sequence, { sender, key, message, hash, joined: [], left: [] });
  }

  /** Enters a position of the log, or compares it with what is known of it. */
  #place(conversation: string, sequence: number, position: Position): void {
    const log = this.#log.get(conversation) ?? new Map<number, Position>();
    this.#log.set(conversation, log);
    const known = log.get(sequence);
    const place = `${conversation}/${sequence}`;
    if (known !== undefined) {
      const same =
        (known.hash === position.hash || known.hash === "" || position.hash === "") &&
        known.message === position.message &&
        known.sender === position.sender &&
        known.key === position.key;
      if (!same) {
        const text = `${messageText(known)} and ${messageText(position)}`;
        this.findings.push(`order: at ${place} are ${text}`);
      }
      return;
    }
    log.set(sequence, position);
    const { sender, key, message } = position;
    const other = this.#messages.get(message);
    if (other !== undefined)
      this.findings.push(`duplicate: message ${message} is at ${other} and ${place}`);
    this.#messages.set(message, place);
    if (key === "") return;
    const name = `${conversation} ${sender} ${key}`;
    const first = this.#keys.get(name);
    if (first !== undefined)
      this.findings.push(`duplicate: the key ${key} of ${sender} is at ${first} and ${place}`);
    this.#keys.set(name, place);
  }

  #pair(conversation: string, one: string, two: string): void {
    const known = this.#directs.get(conversation);
    const users = new Set([one, two]);
    if (known === undefined) this.#directs.set(conversation, users);
    else if (!known.has(one) || !known.has(two))
      this.findings.push(`membership: ${conversation} has more than two users`);
  }

  #entry(event: EntryEvent): void {
    const { client, conversation, sequence, joined = [], left = [] } = event;
    this.#place(conversation, sequence, { ...event, joined, left });
    const logs = this.#shown.get(client) ?? new Map<string, Set<number>>();
    this.#shown.set(client, logs);
    const shown = logs.get(conversation) ?? new Set<number>();
    logs.set(conversation, shown);
    if (shown.has(sequence))
      this.findings.push(`duplicate: ${client} shows ${conversation}/${sequence} twice`);
    shown.add(sequence);
    if (event.via === "page" || !this.#faulty) this.#unchecked.push(event);
  }

  #quiet({ clients }: QuietEvent): void {
    const spans = new Map<string, readonly Span[]>();
    const spansOf = (conversation: string, user: string) => {
      const name = `${conversation} ${user}`;
      const known = spans.get(name) ?? this.#spansOf(conversation, user);
      spans.set(name, known);
      return known;
    };
    for (const { client, user, conversation, sequence } of this.#unchecked) {
      const inside = spansOf(conversation, user).some(
        ({ first, last }) => sequence >= first && sequence <= last,
      );
      if (!inside)
        this.findings.push(
          `membership: ${client} of ${user} shows ${conversation}/${sequence} from outside`,
        );
    }
    this.#unchecked = [];
    this.#faulty = false;
    for (const [conversation, log] of this.#log) {
      this.#checkSenders(conversation, log);
      const end = Math.max(...log.keys());
      for (const { client, user } of clients) {
        const span = spansOf(conversation, user).at(-1);
        if (span === undefined) continue;
        const last = Math.min(span.last, end);
        this.#checkComplete(client, conversation, { first: span.first, last });
      }
    }
  }

  /** Checks that each message of a log was sent, and not refused. */
  #checkSenders(conversation: string, log: ReadonlyMap<number, Position>): void {
    for (const [sequence, position] of log) {
      const { sender: user, key, hash } = position;
      // The content of a changed message is not known; then any send of the key will do.
      const isSent = (this.#open.get(contentKey({ user, key, hash })) ?? 0) > 0;
      if (key === "" || isSent) continue;
      const message = messageText(position);
      this.findings.push(`phantom: ${conversation}/${sequence} has ${message}, which nobody sent`);
    }
  }

  /** Checks that a client has all entries of a conversation from first to last. */
  #checkComplete(client: string, conversation: string, { first, last }: Span): void {
    const shown = this.#shown.get(client)?.get(conversation) ?? new Set<number>();
    if (this.#jumped.has(`${client} ${conversation}`)) return;
    const missing: number[] = [];
    for (let sequence = first; sequence <= last; sequence++)
      if (!shown.has(sequence)) missing.push(sequence);
    if (missing.length === 0) return;
    const isGap = [...shown].some((sequence) => sequence > missing[0]!);
    this.findings.push(
      `${isGap ? "gap" : "loss"}: ${client} lacks ${conversation}/${missing.join(", ")}`,
    );
  }

  /** The spans in which a user was a member, the oldest first. */
  #spansOf(conversation: string, user: string): Span[] {
    const pair = this.#directs.get(conversation);
    if (pair !== undefined) return pair.has(user) ? [{ first: 1, last: FOREVER }] : [];
    const spans: Span[] = [];
    let first: number | undefined;
    const log = [...(this.#log.get(conversation) ?? [])].sort(([a], [b]) => a - b);
    for (const [sequence, { joined, left }] of log) {
      if (joined.includes(user)) first ??= sequence;
      if (!left.includes(user) || first === undefined) continue;
      spans.push({ first, last: sequence });
      first = undefined;
    }
    if (first !== undefined) spans.push({ first, last: FOREVER });
    return spans;
  }

  #count(send: Pick<SendEvent, "user" | "key" | "hash">, by: 1 | -1): void {
    for (const name of [contentKey(send), contentKey({ ...send, hash: "" })])
      this.#open.set(name, (this.#open.get(name) ?? 0) + by);
  }
}

function contentKey({ user, key, hash }: Pick<SendEvent, "user" | "key" | "hash">): string {
  return `${user} ${key} ${hash}`;
}

function messageText({ sender, key, hash, message }: Position): string {
  return `message ${message} of ${sender} (key "${key}", content ${hash})`;
}
