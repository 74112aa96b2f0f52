import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Entry } from "#gen/lucky/message/v1/message_pb.js";
import { LuckyClient } from "../client/client.ts";
import { reasonOf } from "../client/error.ts";
import { startAll } from "../services/all.ts";

const USUAL_URL = "http://127.0.0.1:9191";
const PASSWORD = "correct horse battery staple";
const TIMEOUT_MS = 15_000;

/** Tells what happens, and remembers whether every promise held. */
class Story {
  #broken = 0;
  #kept = 0;

  chapter(title: string): void {
    console.log(`\n  ${title}`);
  }

  tell(line: string): void {
    console.log(`    ${line}`);
  }

  promise(sentence: string, held: boolean): void {
    console.log(`    ${held ? "✓" : "✗ BROKEN:"} ${sentence}`);
    if (held) this.#kept++;
    else this.#broken++;
  }

  end(): boolean {
    const all = this.#kept + this.#broken;
    const verdict = this.#broken === 0 ? "every promise held" : `${this.#broken} were broken`;
    console.log(`\n  ${all} promises: ${verdict}.\n`);
    return this.#broken === 0;
  }
}

/** A person with one device, and what they have seen on it. */
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
    const device = { deviceId: randomUUID(), deviceClass: DeviceClass.WEB, clientVersion: "demo" };
    const client = new LuckyClient({ url, device });
    await client.register(userName, PASSWORD, name);
    await client.login(userName, PASSWORD);
    return new Person(client, name);
  }

  /** Waits until so many messages were seen in all. */
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

async function play(url: string, story: Story): Promise<void> {
  story.chapter("Two people register and come online");
  const [ana, ben] = await Promise.all([Person.register(url, "Ana"), Person.register(url, "Ben")]);
  try {
    await Promise.all([ana.client.connect(), ben.client.connect()]);
    story.tell(`Ana is user ${ana.client.userId}, Ben is user ${ben.client.userId}.`);
    const conversationId = await thereAndAway(ana, ben, story);
    await twice(ana, ben, conversationId, story);
    await group(ana, ben, story);
  } finally {
    await Promise.all([ana.client.close(), ben.client.close()]);
  }
}

async function thereAndAway(ana: Person, ben: Person, story: Story): Promise<string> {
  const toBen = { userId: ben.client.userId };

  story.chapter("Ana writes while Ben is there");
  const there = ["Hi Ben!", "Are you there?", "Lunch at twelve?"];
  const deadline = AbortSignal.timeout(TIMEOUT_MS);
  const delivered = ana.client.next("receipt", (it) => it.deliveredSequence >= 3n, deadline);
  const accepted = await Promise.all(there.map((text) => ana.client.send(toBen, text)));
  const conversationId = accepted[0]!.conversationId;
  await ben.sees(3);
  for (const text of ben.texts(conversationId)) story.tell(`Ben reads: ${text}`);
  const sequences = accepted.map((one) => Number(one.sequence));
  story.promise(`the three are 1, 2, 3 in the log: ${sequences}`, same(sequences, [1, 2, 3]));
  story.promise("Ben saw them once, in order", same(ben.texts(conversationId), there));
  await delivered;
  story.promise("Ana knows that they were DELIVERED", true);
  const read = ana.client.next("receipt", (it) => it.readSequence >= 3n, deadline);
  ben.client.markRead(conversationId, 3n);
  await read;
  story.promise("Ana knows that Ben has READ them", true);

  story.chapter("Ana writes while Ben is away");
  await ben.client.close();
  story.tell("Ben closes his laptop.");
  const away = ["I'm at the door.", "Never mind, started without you.", "Soup was great."];
  for (const text of away) await ana.client.send(toBen, text);
  story.promise("Ben has seen nothing of it yet", ben.seen.length === 3);
  await ben.client.connect();
  await ben.client.caughtUp();
  await ben.sees(6);
  story.tell("Ben is back.");
  for (const text of ben.texts(conversationId).slice(3)) story.tell(`Ben reads: ${text}`);
  story.promise(
    "Ben missed nothing and saw nothing twice",
    same(ben.texts(conversationId), [...there, ...away]),
  );
  return conversationId;
}

async function twice(
  ana: Person,
  ben: Person,
  conversationId: string,
  story: Story,
): Promise<void> {
  story.chapter("Ana sends the same message twice, as a phone does when the answer got lost");
  const key = { clientMessageId: randomUUID() };
  const target = { conversationId };
  const first = await ana.client.send(target, "Dinner then?", key);
  const again = await ana.client.send(target, "Dinner then?", key);
  const overRpc = await ana.client.sendByRpc(target, "Dinner then?", key);
  const answers = [again, overRpc];
  story.promise(
    `all answers name message ${first.messageId} at place ${first.sequence}`,
    answers.every((it) => it.messageId === first.messageId && it.sequence === first.sequence),
  );
  const reason = await ana.client
    .send(target, "Breakfast then?", key)
    .then(() => undefined, reasonOf);
  story.promise(
    "the same key with other words is refused",
    reason === ErrorReason.CLIENT_MESSAGE_ID_REUSED,
  );
  await ana.client.send(target, "Eight o'clock.");
  await ben.sees(8);
  story.promise(
    "Ben saw the message once",
    same(ben.texts(conversationId).slice(6), ["Dinner then?", "Eight o'clock."]),
  );
}

async function group(ana: Person, ben: Person, story: Story): Promise<void> {
  story.chapter("They make a group and both write at once");
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
  story.tell(`20 messages and the tip that the group was made: ${last} entries.`);

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
  story.promise("the group's log has no gap", gapFree && logs[0]!.length === last);
  story.promise("both have the same order", same(anaLog!, benLog!));
  for (const [reader, writer] of [
    [ana, ben],
    [ben, ana],
  ] as const) {
    const deadline = AbortSignal.timeout(TIMEOUT_MS);
    const written = numbers.map((n) => `${writer.name} ${n}`);
    const heard = () => reader.texts(conversationId).filter((text) => text.startsWith(writer.name));
    while (heard().length < written.length) {
      await reader.client.next("message", undefined, deadline);
    }
    story.promise(
      `${reader.name} saw ${writer.name}'s in the order written`,
      same(heard(), written),
    );
  }
}

async function answers(url: string): Promise<boolean> {
  try {
    const headers = { "content-type": "application/json" };
    const method = `${url}/lucky.auth.v1.AuthService/GetPublicKey`;
    const signal = AbortSignal.timeout(1_000);
    return (await fetch(method, { method: "POST", headers, body: "{}", signal })).ok;
  } catch {
    return false; // Nobody listens there.
  }
}

/** Starts Lucky for the demo alone. */
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
const given = values.url ?? ((await answers(USUAL_URL)) ? USUAL_URL : undefined);
const own = given === undefined ? await startOwn() : undefined;
const url = given ?? own!.url;
console.log(`\n  Lucky at ${url}${own ? ", started for this demo" : ""}`);

const story = new Story();
try {
  await play(url, story);
} catch (error) {
  story.promise(error instanceof Error ? error.message : String(error), false);
} finally {
  await own?.stop();
}
process.exitCode = story.end() ? 0 : 1;
