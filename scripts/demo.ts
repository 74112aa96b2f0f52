import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Entry } from "#gen/lucky/message/v1/entry_pb.js";
import { LuckyClient } from "../client/client.ts";
import { reasonOf } from "../client/error.ts";
import { startAll } from "../services/all.ts";

const DEFAULT_URL = "http://127.0.0.1:9191";
const PASSWORD = "correct horse battery staple";
const TIMEOUT_MS = 15_000;

/** Prints the steps of the demo and counts its checks. */
class Report {
  #failed = 0;
  #passed = 0;

  section(title: string): void {
    console.log(`\n  ${title}`);
  }

  line(text: string): void {
    console.log(`    ${text}`);
  }

  check(sentence: string, passed: boolean): void {
    console.log(`    ${passed ? "✓" : "✗ FAILED:"} ${sentence}`);
    if (passed) this.#passed++;
    else this.#failed++;
  }

  /** Prints the summary; returns whether all checks passed. */
  end(): boolean {
    const total = this.#passed + this.#failed;
    const verdict = this.#failed === 0 ? "all passed" : `${this.#failed} failed`;
    console.log(`\n  ${total} checks: ${verdict}.\n`);
    return this.#failed === 0;
  }
}

/** A person with one device, and the entries received on it. */
class Person {
  readonly client: LuckyClient;
  readonly name: string;
  readonly seen: Entry[] = [];

  private constructor(client: LuckyClient, name: string) {
    this.client = client;
    this.name = name;
    client.on("message", (entry) => this.seen.push(entry));
  }

  static async register(url: string, name: string): Promise<Person> {
    const userName = `${name.toLowerCase()}-${randomUUID().slice(0, 8)}`;
    const device = { deviceId: randomUUID(), deviceClass: DeviceClass.WEB };
    const client = new LuckyClient({ url, device, clientName: "lucky-demo" });
    await client.register(userName, PASSWORD, name);
    await client.login(userName, PASSWORD);
    return new Person(client, name);
  }

  /** Waits until `count` messages were received in total. */
  async sees(count: number): Promise<void> {
    const deadline = AbortSignal.timeout(TIMEOUT_MS);
    while (this.seen.length < count) await this.client.next("message", undefined, deadline);
  }

  texts(conversationId: string): string[] {
    return this.seen
      .filter((entry) => entry.conversationId === conversationId)
      .map((entry) => textOf(entry));
  }
}

function textOf(entry: Entry): string {
  const kind = entry.content?.kind;
  return kind?.case === "text" ? kind.value.text : `(${kind?.case})`;
}

function same(one: readonly unknown[], other: readonly unknown[]): boolean {
  return one.length === other.length && one.every((value, at) => value === other[at]);
}

async function play(url: string, report: Report): Promise<void> {
  report.section("Two people register and come online");
  const [ana, ben] = await Promise.all([Person.register(url, "Ana"), Person.register(url, "Ben")]);
  try {
    await Promise.all([ana.client.connect(), ben.client.connect()]);
    report.line(`Ana is user ${ana.client.userId}, Ben is user ${ben.client.userId}.`);
    const conversationId = await onlineAndOffline(ana, ben, report);
    await retriedSend(ana, ben, conversationId, report);
    await groupWithTwoWriters(ana, ben, report);
    await changedMessages(ana, ben, conversationId, report);
  } finally {
    await Promise.all([ana.client.close(), ben.client.close()]);
  }
}

async function onlineAndOffline(ana: Person, ben: Person, report: Report): Promise<string> {
  const toBen = { userId: ben.client.userId };

  report.section("Ana writes while Ben is online");
  const online = ["Hi Ben!", "Are you there?", "Lunch at twelve?"];
  const deadline = AbortSignal.timeout(TIMEOUT_MS);
  const delivered = ana.client.next("receipt", (it) => it.deliveredSequence >= 3n, deadline);
  const accepted = await Promise.all(online.map((text) => ana.client.send(toBen, text)));
  const conversationId = accepted[0]!.conversationId;
  await ben.sees(3);
  for (const text of ben.texts(conversationId)) report.line(`Ben reads: ${text}`);
  const sequences = accepted.map((one) => Number(one.sequence));
  report.check(`the messages have the sequences 1, 2, 3: ${sequences}`, same(sequences, [1, 2, 3]));
  report.check("Ben received them once, in order", same(ben.texts(conversationId), online));
  await delivered;
  report.check("Ana has the receipt that they were DELIVERED", true);
  const read = ana.client.next("receipt", (it) => it.readSequence >= 3n, deadline);
  ben.client.markRead(conversationId, 3n);
  await read;
  report.check("Ana has the receipt that Ben has READ them", true);

  report.section("Ana writes while Ben is offline");
  await ben.client.close();
  report.line("Ben closes his laptop.");
  const offline = ["I'm at the door.", "Never mind, started without you.", "Soup was great."];
  for (const text of offline) await ana.client.send(toBen, text);
  report.check("Ben has received none of them yet", ben.seen.length === 3);
  await ben.client.connect();
  await ben.client.caughtUp();
  await ben.sees(6);
  report.line("Ben is back.");
  for (const text of ben.texts(conversationId).slice(3)) report.line(`Ben reads: ${text}`);
  report.check(
    "Ben missed no message and received no duplicate",
    same(ben.texts(conversationId), [...online, ...offline]),
  );
  return conversationId;
}

async function retriedSend(
  ana: Person,
  ben: Person,
  conversationId: string,
  report: Report,
): Promise<void> {
  report.section("Ana retries a send, as a phone does when the answer was lost");
  const key = { clientMessageId: randomUUID() };
  const target = { conversationId };
  const first = await ana.client.send(target, "Dinner then?", key);
  const again = await ana.client.send(target, "Dinner then?", key);
  const overRpc = await ana.client.sendByRpc(target, "Dinner then?", key);
  const answers = [again, overRpc];
  report.check(
    `all answers have message id ${first.messageId} and sequence ${first.sequence}`,
    answers.every((it) => it.messageId === first.messageId && it.sequence === first.sequence),
  );
  const reason = await ana.client
    .send(target, "Breakfast then?", key)
    .then(() => undefined, reasonOf);
  report.check(
    "the same client_message_id with other content is refused",
    reason === ErrorReason.KEY_REUSED,
  );
  await ana.client.send(target, "Eight o'clock.");
  await ben.sees(8);
  report.check(
    "Ben received the message once",
    same(ben.texts(conversationId).slice(6), ["Dinner then?", "Eight o'clock."]),
  );
}

async function groupWithTwoWriters(ana: Person, ben: Person, report: Report): Promise<void> {
  report.section("They create a group and both write concurrently");
  const { group: made } = await ana.client.groups.createGroup({
    name: "Lunch",
    userIds: [ben.client.userId],
    clientGroupId: randomUUID(),
  });
  const conversationId = made!.groupId;
  const numbers = Array.from({ length: 10 }, (_, n) => n + 1);
  const sendAll = (person: Person) =>
    numbers.map((n) => person.client.send({ conversationId }, `${person.name} ${n}`));
  const results = await Promise.all([...sendAll(ana), ...sendAll(ben)]);
  const last = Math.max(...results.map((it) => Number(it.sequence)));
  report.line(`20 messages and the entry for the creation of the group: ${last} entries.`);

  const logs = await Promise.all(
    [ana, ben].map(async (person) => {
      const position = { case: "afterSequence", value: 0n } as const;
      const { entries } = await person.client.messages.listEntries({ conversationId, position });
      return entries;
    }),
  );
  const [anaLog, benLog] = logs.map((entries) =>
    entries.map((it) => `${it.sequence} ${textOf(it)}`),
  );
  const gapFree = logs[0]!.every((entry, at) => entry.sequence === BigInt(at + 1));
  report.check("the group's log has no gap", gapFree && logs[0]!.length === last);
  report.check("both see the same order", same(anaLog!, benLog!));
  for (const [reader, writer] of [
    [ana, ben],
    [ben, ana],
  ] as const) {
    const deadline = AbortSignal.timeout(TIMEOUT_MS);
    const written = numbers.map((n) => `${writer.name} ${n}`);
    const received = () =>
      reader.texts(conversationId).filter((text) => text.startsWith(writer.name));
    while (received().length < written.length) {
      await reader.client.next("message", undefined, deadline);
    }
    report.check(
      `${reader.name} received ${writer.name}'s messages in the order written`,
      same(received(), written),
    );
  }
}

async function changedMessages(
  ana: Person,
  ben: Person,
  direct: string,
  report: Report,
): Promise<void> {
  report.section("Messages change: an edit, reactions, a recall by the owner, a forward");
  const { group } = await ana.client.groups.createGroup({
    name: "Plans",
    userIds: [ben.client.userId],
    clientGroupId: randomUUID(),
  });
  const conversationId = group!.groupId;
  const deadline = AbortSignal.timeout(TIMEOUT_MS);
  const changed = (kind: string) =>
    ben.client.next("change", (it) => it.kind === kind, deadline).then(() => undefined);
  const shown = async (person: Person, conversation: string, sequence: bigint) => {
    const { messages } = await person.client.history.getMessages({
      conversationId: conversation,
      sequences: [sequence],
    });
    return messages[0];
  };

  const { sequence } = await ana.client.send({ conversationId }, "Cinema at sevn?");
  const edited = changed("edit");
  await ana.client.changes.editMessage({
    conversationId,
    sequence,
    clientMessageId: randomUUID(),
    change: { case: "text", value: { text: "Cinema at seven?" } },
  });
  await edited;
  const message = await shown(ben, conversationId, sequence);
  report.line(`Ben reads: ${textOf(message!)} (edited)`);
  report.check(
    "Ben sees the new text and that it was edited",
    textOf(message!) === "Cinema at seven?" && message!.state!.editedAtMs > 0n,
  );

  const reacted = changed("reactions");
  await ana.client.changes.setReactions({ conversationId, sequence, emojis: ["🍿"] });
  await reacted;
  const both = { conversationId, sequence, emojis: ["🍿", "👍"] };
  const { reactions } = await ben.client.changes.setReactions(both);
  await ben.client.changes.setReactions(both);
  const counts = reactions.map(({ emoji, count }) => `${emoji} ${count}`);
  report.check(`the reactions are exact: ${counts.join(", ")}`, same(counts, ["🍿 2", "👍 1"]));

  const { sequence: rude } = await ben.client.send({ conversationId }, "I hate cinemas.");
  const recalled = changed("recall");
  await ana.client.changes.recallMessages({ conversationId, sequences: [rude], reason: "rude" });
  await recalled;
  const gone = await shown(ben, conversationId, rude);
  report.check(
    "Ana, the owner, recalled a message of Ben: its text is gone",
    gone?.content === undefined && gone?.state?.recalled?.userId === ana.client.userId,
  );

  const { accepted } = await ben.client.messages.forward({
    target: { case: "conversationId", value: direct },
    fromConversationId: conversationId,
    sequences: [sequence],
    clientMessageIds: [randomUUID()],
  });
  const copy = await shown(ana, direct, accepted[0]!.sequence);
  report.check(
    "Ben forwarded Ana's message: the copy names her as its author",
    copy?.origin?.senderId === ana.client.userId && textOf(copy) === "Cinema at seven?",
  );
}

async function answers(url: string): Promise<boolean> {
  try {
    const headers = { "content-type": "application/json" };
    const method = `${url}/lucky.auth.v1.AuthService/GetPublicKey`;
    const signal = AbortSignal.timeout(1_000);
    return (await fetch(method, { method: "POST", headers, body: "{}", signal })).ok;
  } catch {
    return false; // No server listens there.
  }
}

/** Starts a Lucky for this demo, on a temporary folder. */
async function startOwn(): Promise<{ url: string; stop: () => Promise<void> }> {
  const dataDir = await mkdtemp(join(tmpdir(), "lucky-demo-"));
  const env = {
    LUCKY_DATA_DIR: dataDir,
    LUCKY_GATEWAY_PORT: "0",
    LUCKY_CONNECT_PORT: "0",
    LUCKY_LOG_LEVEL: "warn",
    LUCKY_CONNECT_DRAIN_MS: "100",
    LUCKY_GATEWAY_DRAIN_MS: "100",
  };
  const all = await startAll({ env });
  const stop = async () => {
    await all.stop();
    await rm(dataDir, { recursive: true, force: true });
  };
  return { url: all.url, stop };
}

const { values } = parseArgs({ options: { url: { type: "string" } } });
const given = values.url ?? ((await answers(DEFAULT_URL)) ? DEFAULT_URL : undefined);
const own = given === undefined ? await startOwn() : undefined;
const url = given ?? own!.url;
console.log(`\n  Lucky at ${url}${own ? ", started for this demo" : ""}`);

const report = new Report();
try {
  await play(url, report);
} catch (error) {
  report.check(error instanceof Error ? error.message : String(error), false);
} finally {
  await own?.stop();
}
process.exitCode = report.end() ? 0 : 1;
