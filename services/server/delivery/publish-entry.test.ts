import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { type Entry, EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import { allTimesOf } from "#platform/ids.fixture.ts";
import { createIds } from "#platform/ids.ts";
import { Metrics } from "#platform/metrics.ts";
import { quiet, startTestPostgres } from "../../../test/backends/postgres.ts";
import { Conversations } from "../conversations/conversations.ts";
import { Database } from "../log/database.ts";
import { flagsOf } from "../log/entries.ts";
import { KINDS } from "../log/kinds.ts";
import { Logs } from "../log/logs.ts";
import { entryWriter, type NewEntry } from "../log/write-entry.ts";
import { ServerMetrics } from "../metrics.ts";
import { accepted, Stand, say, untilOutboxEmpty } from "../server.fixture.ts";
import type { Subscriber } from "../subscriber.fixture.ts";
import { Outbox } from "./outbox.ts";
import { publishEntry } from "./publish-entry.ts";
import { Relay } from "./relay.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

const call = (conversationId: string, causedBy: string): NewEntry => ({
  conversationId,
  causedBy,
  content: { kind: { case: "callRecord", value: { callId: "7", outcome: 2 } } },
});
/** A tip that adds users to a group; without users it tells of no membership. */
const tip = (conversationId: string, ...userIds: string[]): NewEntry => ({
  conversationId,
  causedBy: "101",
  content: { kind: { case: "tip", value: { kind: { case: "membersAdded", value: { userIds } } } } },
});
let worker = 900;

/** A test bed with a writer and a publisher of entries, as a process of server has them. */
async function publishing(t: { after(close: () => Promise<void>): void }) {
  const stand = new Stand(t, pool);
  const { clock } = stand;
  // The clocks of all test beds start at the same time, so each one needs its own worker number.
  const id = worker++;
  const db = new Database({ pool, clock });
  const logs = new Logs({ pools: [pool], clock, log: quiet, answerMs: 2_000 });
  await logs.start();
  const conversations = new Conversations({ logs, clock, memberships: 100 });
  const relay = new Relay({
    bus: stand.bus,
    registry: stand.registry,
    clock,
    log: quiet,
    metrics: new ServerMetrics(new Metrics()),
    config: {
      publishTimeoutMs: 5_000,
      relayBatches: 10,
      relayBytes: 1_000_000,
      relaySignals: 10,
    },
  });
  const outbox = new Outbox({ db, clock, log: quiet, deleteLingerMs: 60_000 });
  t.after(() => relay.idle());
  const write = entryWriter({
    ids: createIds({ window: allTimesOf(id), clock }),
    clock,
    outboxDelayMs: 5_000,
  });
  const writeAll = (...entries: NewEntry[]) =>
    db.transaction(async (client) => {
      const written = [];
      for (const entry of entries) written.push(await write(client, entry));
      return written;
    });
  const publishAll = (written: Awaited<ReturnType<typeof writeAll>>) => {
    for (const entry of written) publishEntry({ conversations, relay, outbox }, entry);
  };
  return { stand, db, conversations, write, writeAll, publishAll };
}

/** The deliveries and the memberships in a subscriber's envelopes, in an order of their own. */
const received = ({ envelopes }: Subscriber) => ({
  deliveries: envelopes
    .flatMap(({ deliveries }) => deliveries)
    .map(({ channels, lastSequence, entries }) =>
      [
        channels.toSorted().join(),
        lastSequence,
        ...entries.map((bytes) => Buffer.from(bytes).toString("hex")),
      ].join(" "),
    )
    .toSorted(),
  memberships: envelopes
    .flatMap(({ memberships }) => memberships)
    .map(({ userId, groupId, member }) => `${userId} ${groupId} ${member}`)
    .toSorted(),
});

/** Member version, member count, and the kind and countable number of each entry. */
async function stored(conversationId: string) {
  const { rows } = await pool.query(
    `SELECT c.member_version::int AS version, c.member_count AS members,
            (SELECT json_agg(ARRAY[e.kind, e.countable] ORDER BY e.sequence) FROM im.entry e
              WHERE e.conversation_id = c.conversation_id) AS entries
       FROM im.conversation c WHERE c.conversation_id = $1`,
    [conversationId],
  );
  return rows[0];
}

test("an entry without memberships reaches both users of a direct conversation and counts as its kind", async (t) => {
  const { stand, conversations, writeAll, publishAll } = await publishing(t);
  const server = await stand.server();
  const { conversationId } = accepted((await server.append(say("111", "112", "m")))[0]);
  await conversations.all([conversationId]);
  const { version } = await stored(conversationId);
  const subscriber = await stand.instance("connect-0", ["u:112"]);
  publishAll(await writeAll(call(conversationId, "112")));
  await subscriber.until(({ entries }) => entries.length === 1);
  const { deliveries, memberships } = received(subscriber);
  assert.match(deliveries.join(), /^u:111,u:112 2 \w+$/);
  assert.deepEqual(memberships, []);
  assert.ok(conversations.peek(conversationId) !== undefined, "cached memberships are valid");
  await server.append(say("111", "112", "n"));
  assert.deepEqual(await stored(conversationId), {
    version,
    members: 2,
    entries: [
      [1, 1],
      [12, 2],
      [1, 3],
    ],
  });
  for (const [userId, unread] of [
    ["111", 1n],
    ["112", 2n],
  ] as const) {
    const { conversations: changed } = await server.messages(userId).sync({});
    assert.equal(changed[0]!.unreadCount, unread, userId);
  }
});

test("entries of one transaction carry memberships, a change of rights, or nothing", async (t) => {
  const { stand, conversations, writeAll, publishAll } = await publishing(t);
  const server = await stand.server();
  const { group } = await server.groups("101").createGroup({ name: "g" });
  const groupId = group!.groupId;
  await conversations.all([groupId]);
  const subscriber = await stand.instance("connect-0", ["u:122", "u:123", `g:${groupId}`]);
  const written = await writeAll(
    tip(groupId, "122", "123"),
    { ...tip(groupId), rightsChange: true },
    call(groupId, "101"),
  );
  assert.deepEqual(
    written.map(({ sequence, membersChanged }) => [sequence, membersChanged]),
    [
      [2, true],
      [3, true],
      [4, false],
    ],
  );
  assert.deepEqual(await stored(groupId), {
    version: 3,
    members: 3,
    entries: [
      [11, 0],
      [11, 0],
      [11, 0],
      [12, 1],
    ],
  });
  publishAll(written);
  assert.equal(conversations.peek(groupId), undefined, "cached memberships are stale");
  await subscriber.until(({ entries }) => entries.length === 3);
  assert.deepEqual(received(subscriber).memberships, [
    `122 ${groupId} true`,
    `123 ${groupId} true`,
  ]);
});

test("the compensation publishes what the writer publishes", async (t) => {
  const { stand, writeAll, publishAll } = await publishing(t);
  const server = await stand.server();
  const { conversationId } = accepted((await server.append(say("131", "132", "m")))[0]);
  const { group } = await server.groups("101").createGroup({ name: "g" });
  await untilOutboxEmpty(stand);
  const subscriber = await stand.instance("connect-0", ["u:131", "u:133", `g:${group!.groupId}`]);
  const written = await writeAll(
    call(conversationId, "131"),
    tip(group!.groupId),
    tip(group!.groupId, "133"),
  );
  publishAll(written);
  await subscriber.until(({ entries }) => entries.length === 3);
  const byWriter = received(subscriber);
  subscriber.envelopes.length = 0;
  // The writer has not deleted the rows of its entries: for the compensation nobody published them.
  stand.clock.advance(5_001);
  await server.server.replay();
  await subscriber.until(({ entries }) => entries.length === 3);
  assert.deepEqual(received(subscriber), byWriter);
});

test("a transaction that fails leaves no entry, no outbox row and no change of the conversation", async (t) => {
  const { stand, db, write } = await publishing(t);
  const server = await stand.server();
  const { group } = await server.groups("101").createGroup({ name: "g" });
  await untilOutboxEmpty(stand);
  const before = await stored(group!.groupId);
  const failing = db.transaction(async (client) => {
    await write(client, { ...call(group!.groupId, "101"), rightsChange: true });
    throw new Error("the caller fails");
  });
  await assert.rejects(failing, /the caller fails/);
  assert.deepEqual(await stored(group!.groupId), before);
  await untilOutboxEmpty(stand);
});

test("every delivery and every read of an entry carries the flags of its kind", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const live = await stand.instance("connect-0", ["u:441", "u:442"]);
  const { group } = await one.groups("441").createGroup({ name: "g", userIds: ["442"] });
  const conversationId = group!.groupId;
  const messages = one.messages("441");
  const flags = (entry: Entry | undefined) => [entry?.notCounted, entry?.notShown];
  const TIP = [true, false];
  const MESSAGE = [false, false];

  await live.until(({ entries }) => entries.length > 0);
  assert.deepEqual(flags(live.entries[0]), TIP, "live delivery");
  const { conversations } = await messages.sync({});
  const synced = conversations.find((one) => one.conversationId === conversationId);
  assert.deepEqual(flags(synced?.lastEntry), TIP, "Sync");

  const later = await stand.instance("connect-1", [`g:${conversationId}`]);
  stand.busOutage = "silent";
  await one.groups("441").addMembers({ groupId: conversationId, userIds: ["443"] });
  const to = { case: "conversationId", value: conversationId } as const;
  await one.append({ from: "441", to, key: "m", text: "hi" });
  stand.busOutage = "none";
  stand.clock.advance(60_000);
  await later.until(({ entries }) => entries.some(({ sequence }) => sequence === 2n));
  const late = later.entries.find(({ sequence }) => sequence === 2n);
  assert.deepEqual(flags(late), TIP, "compensation");

  const position = { case: "afterSequence", value: 0n } as const;
  const page = await messages.listEntries({ conversationId, position });
  assert.deepEqual(page.entries.map(flags), [TIP, TIP, MESSAGE], "history");
  const range = { userId: "441", conversationId, afterSequence: 0n, limit: 10 };
  const { ranges } = await one.ingress.readEntries({ ranges: [range] });
  const redelivered = ranges[0]!.entries.map((bytes) => fromBinary(EntrySchema, bytes));
  assert.deepEqual(redelivered.map(flags), [TIP, TIP, MESSAGE], "redelivery");
  await untilOutboxEmpty(stand);
});

test("the flags follow from the kind: a change of earlier entries is not shown and does not count", () => {
  assert.deepEqual(flagsOf(KINDS.text), { notShown: false, notCounted: false });
  assert.deepEqual(flagsOf(KINDS.tip), { notShown: false, notCounted: true });
  const change = { shown: false, countable: false };
  assert.deepEqual(flagsOf(change), { notShown: true, notCounted: true });
});
