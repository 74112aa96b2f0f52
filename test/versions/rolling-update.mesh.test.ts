import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "../../client/error.ts";
import { startMesh } from "../../scripts/mesh.ts";
import { migrateDatabase } from "../../services/migrate.ts";
import type { Teardown } from "../backends/teardown.ts";
import { Account } from "../cluster/account.ts";
import { type ClientDevice, type Person, people } from "../world/people.ts";
import { FAST_SETTINGS } from "../world/world.ts";
import { writeFormerVersion } from "./former-version.ts";

const TIMEOUT = 300_000;
/** Texts of a talk: the sender and the round. */
const TALK = /^\d+:\d+$/;
const present = join(import.meta.dirname, "../..");
const former = writeFormerVersion({ after });

/** Two users who send each other messages without a pause. */
class Talk {
  readonly #account = new Account();
  readonly #pair: readonly [ClientDevice, ClientDevice];
  #going = true;
  #rounds = 0;
  #roundEnded = Promise.withResolvers<void>();
  readonly #running: Promise<void>;

  constructor(pair: readonly [ClientDevice, ClientDevice]) {
    this.#pair = pair;
    for (const { client, userId } of pair)
      client.on("message", ({ content, conversationId: conversation, sequence }) => {
        // The rest are messages of `useEverything`, of the same users.
        if (content?.kind.case !== "text" || !TALK.test(content.kind.value.text)) return;
        const entry = { text: content.kind.value.text, conversation, sequence: Number(sequence) };
        this.#account.show(userId, entry);
      });
    this.#running = this.#run();
  }

  /** Resolves when both users have sent once more. */
  async round(): Promise<void> {
    const from = this.#rounds;
    // The round that is running may have begun before this call.
    while (this.#rounds < from + 2) await Promise.race([this.#roundEnded.promise, this.#running]);
  }

  /** Ends the talk; returns its account when everything has arrived. */
  async end() {
    this.#going = false;
    await this.#running;
    for (const device of this.#pair)
      await device.until(() => this.#account.isComplete(device.userId));
    const { sent, accepted } = this.#account;
    return { unanswered: sent - accepted, ...this.#account.result() };
  }

  async #run(): Promise<void> {
    const [ana, ben] = this.#pair;
    while (this.#going) {
      await Promise.all([this.#send(ana, ben.userId), this.#send(ben, ana.userId)]);
      this.#rounds += 1;
      this.#roundEnded.resolve();
      this.#roundEnded = Promise.withResolvers();
    }
  }

  async #send({ client, userId }: ClientDevice, to: string): Promise<void> {
    const message = `${userId}:${this.#rounds}`;
    this.#account.send();
    const { conversationId, sequence } = await client.send({ userId: to }, message);
    this.#account.accept(message, { conversation: conversationId, sequence: Number(sequence), to });
  }
}

/** Gateways learn of a restarted auth within a second. Time-out: 60 s. */
async function retryUnavailable<T>(call: () => Promise<T>): Promise<T> {
  const signal = AbortSignal.timeout(60_000);
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (reasonOf(error) !== ErrorReason.UNAVAILABLE) throw error;
      signal.throwIfAborted();
    }
  }
}

/** Uses every service once: accounts, groups, the log, deliveries and sync. */
async function useEverything([ana, ben]: readonly [Person, Person]): Promise<void> {
  const login = (person: Person) => retryUnavailable(() => person.clientDevice());
  const [sender, receiver] = await Promise.all([login(ana), login(ben)]);
  await Promise.all([sender.client.connect(), receiver.client.connect()]);
  const request = { name: "Update", userIds: [ben.userId] };
  const { group } = await sender.client.groups.createGroup(request);
  const conversationId = group!.groupId;
  await sender.client.send({ conversationId }, "to the group");
  await receiver.until(() => receiver.texts(conversationId).includes("to the group"));
  await receiver.client.sendByRpc({ conversationId }, "by RPC");
  await sender.until(() => sender.texts(conversationId).includes("by RPC"));
  receiver.client.typing(conversationId);
  await sender.until(() => sender.typings.some((one) => one.conversationId === conversationId));
  await Promise.all([sender.client.logout(), receiver.client.logout()]);
}

/** Starts the former version, and updates its processes to this one in an order, while two users talk. */
async function update(t: Teardown, order: readonly string[]): Promise<void> {
  const mesh = await startMesh({
    own: true,
    free: true,
    instances: { connect: 1, server: 1 },
    env: FAST_SETTINGS,
    root: former,
    print: (line) => process.env.LUCKY_TEST_LOG && console.log(line),
  });
  t.after(() => mesh.stop());
  const persons = (await people({ url: mesh.gatewayUrl }, "ana", "ben")) as [Person, Person];
  const devices = await Promise.all(
    persons.map((person) => person.clientDevice({ history: "all" })),
  );
  await Promise.all(devices.map(({ client }) => client.connect()));
  const talk = new Talk(devices as [ClientDevice, ClientDevice]);
  await talk.round();
  // Expand first: the running processes of the former version work with the new tables.
  await migrateDatabase({ LUCKY_MIGRATE_POSTGRES_URL: mesh.postgresUrl, LUCKY_LOG_LEVEL: "warn" });
  await talk.round();
  for (const service of order) {
    for (const child of mesh.processes.filter(({ name }) => name.startsWith(service))) {
      await child.restart(present);
      await talk.round();
    }
    await useEverything(persons);
  }
  assert.deepEqual(await talk.end(), {
    unanswered: 0,
    lost: 0,
    duplicated: 0,
    reordered: 0,
    findings: [],
  });
  await Promise.all(persons.map((person) => person.closeDevices()));
}

test(
  "when auth and server are updated first, they work with the former connect and gateway",
  {
    timeout: TIMEOUT,
  },
  (t) => update(t, ["auth", "server", "connect", "gateway"]),
);

test(
  "when gateway and connect are updated first, they work with the former server and auth",
  {
    timeout: TIMEOUT,
  },
  (t) => update(t, ["gateway", "connect", "server", "auth"]),
);
