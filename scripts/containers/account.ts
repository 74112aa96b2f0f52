import { setTimeout as pause } from "node:timers/promises";
import type { Accepted } from "#gen/lucky/message/v1/message_pb.js";
import { type ClientDevice, type Person, people } from "../../test/world/people.ts";

const PAIRS = 4;
/** Pause of a sender between an answer and its next send, ms. */
const PAUSE_MS = 40;
const PAGE = 200;

/** The outcome of all sends: every number but `sent`, `unsure` and `slowestMs` must be 0. */
export interface Outcome {
  readonly sent: number;
  /** Sends that failed: their message may be stored, once. */
  readonly unsure: number;
  /** Acknowledged messages that the log does not have under their sequence. */
  readonly lost: number;
  /** Messages that the log has more than once. */
  readonly doubled: number;
  /** Messages that a receiver did not see, saw twice, or saw in another order than the log's. */
  readonly misdelivered: number;
  /** Longest time from a send to its acknowledgement. */
  readonly slowestMs: number;
}

/** Pairs of people who write to each other while `Account.stop` is not called. */
export interface Account {
  /** Ends the sends and waits for their answers. */
  stop(): Promise<void>;
  /** Compares the acknowledgements, the log and the received messages. */
  outcome(): Promise<Outcome>;
  close(): Promise<void>;
}

interface Pair {
  readonly from: ClientDevice;
  readonly to: ClientDevice;
  readonly toUserId: string;
  /** Sequence of each acknowledged text. */
  readonly acknowledged: Map<string, bigint>;
  conversationId: string;
}

/** Starts pairs, which reach the system by the addresses in turn. */
export async function startAccount(urls: readonly string[]): Promise<Account> {
  const everybody: Person[] = [];
  const pairs = await Promise.all(
    Array.from({ length: PAIRS }, async (_, at): Promise<Pair> => {
      const [ana, ben] = await people({ url: urls[at % urls.length]! }, "ana", "ben");
      everybody.push(ana!, ben!);
      const [from, to] = await Promise.all([ana!.clientDevice(), ben!.clientDevice()]);
      await Promise.all([from.client.connect(), to.client.connect()]);
      return { from, to, toUserId: ben!.userId, acknowledged: new Map(), conversationId: "" };
    }),
  );
  const end = new AbortController();
  let sent = 0;
  let unsure = 0;
  let slowestMs = 0;

  async function sendUntilStopped(pair: Pair): Promise<void> {
    for (let number = 1; !end.signal.aborted; number++) {
      const text = `message ${number}`;
      const begunAt = performance.now();
      sent += 1;
      const accepted = await pair.from.client
        .send({ userId: pair.toUserId }, text)
        .catch((): Accepted | undefined => undefined);
      slowestMs = Math.max(slowestMs, performance.now() - begunAt);
      if (accepted === undefined) unsure += 1;
      else {
        pair.conversationId = accepted.conversationId;
        pair.acknowledged.set(text, accepted.sequence);
      }
      await pause(PAUSE_MS);
    }
  }

  const working = Promise.all(pairs.map(sendUntilStopped));
  return {
    async stop() {
      end.abort();
      await working;
    },
    async outcome() {
      const faults = await Promise.all(pairs.map(faultsOf));
      const sum = (key: keyof (typeof faults)[number]) =>
        faults.reduce((total, one) => total + one[key], 0);
      const [lost, doubled, misdelivered] = [sum("lost"), sum("doubled"), sum("misdelivered")];
      return { sent, unsure, lost, doubled, misdelivered, slowestMs: Math.round(slowestMs) };
    },
    async close() {
      end.abort();
      await Promise.all(everybody.map((person) => person.closeDevices()));
    },
  };
}

async function faultsOf(
  pair: Pair,
): Promise<{ lost: number; doubled: number; misdelivered: number }> {
  const { acknowledged, conversationId, to } = pair;
  const log = await readLog(pair);
  const texts = log.map(({ text }) => text);
  const bySequence = new Map(log.map(({ sequence, text }) => [sequence, text]));
  const lost = [...acknowledged].filter(([text, at]) => bySequence.get(at) !== text).length;
  const doubled = texts.length - new Set(texts).size;
  await to.until(() => to.texts(conversationId).length >= texts.length);
  const seen = to.texts(conversationId);
  const extra = seen.length - texts.length;
  const misdelivered = extra + texts.filter((text, at) => seen[at] !== text).length;
  return { lost, doubled, misdelivered };
}

async function readLog({ from, conversationId }: Pair) {
  const log: { readonly sequence: bigint; readonly text: string }[] = [];
  for (let value = 0n; ; value = log.at(-1)!.sequence) {
    const position = { case: "afterSequence", value } as const;
    const page = { conversationId, position, pageSize: PAGE };
    const { entries } = await from.client.messages.listEntries(page);
    if (entries.length === 0) return log;
    for (const { sequence, content } of entries) {
      const text = content?.kind.case === "text" ? content.kind.value.text : "";
      log.push({ sequence, text });
    }
  }
}
