import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text as textOf } from "node:stream/consumers";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { BUCKETS, bucketOf, bucketOfGroup, bucketOfPair } from "#platform/buckets/bucket.ts";
import { BucketState } from "#platform/buckets/placement.ts";
import { reasonOf } from "#platform/errors.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { type ClientDevice, type Person, people, text } from "../world/people.ts";
import { queryLogs, startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const root = join(import.meta.dirname, "../..");
// Short intervals for a fast test; the defaults are seconds to half a minute.
const world = await startWorld(
  { after },
  {
    mode: "mesh",
    settings: {
      LUCKY_SERVER_OUTBOX_INTERVAL_MS: "500",
      LUCKY_SERVER_OUTBOX_DELAY_MS: "1000",
      LUCKY_CONNECT_SWEEP_INTERVAL_MS: "3000",
    },
  },
);
const { logUrls } = world.mesh;
const COUNT = logUrls.length;
const numbers = (count: number) => Array.from({ length: count }, (_, at) => `${at}`);

/** The number of the database in which a new bucket is. */
const placeOf = (bucket: number) => Math.floor((bucket * COUNT) / BUCKETS);

/** Refuses connections to a database of the log and ends the open ones, or allows them again. */
async function setAway(database: number, away: boolean): Promise<void> {
  const name = new URL(logUrls[database]!).pathname.slice(1);
  await world.pool.query(`ALTER DATABASE ${name} WITH ALLOW_CONNECTIONS ${!away}`);
  if (!away) return;
  await world.pool.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
    [name],
  );
}

/** One peer for each database, with whom the user's direct conversation is in it. */
async function peersOf({ userId }: Person): Promise<Person[]> {
  const peers: (Person | undefined)[] = new Array(COUNT).fill(undefined);
  while (peers.includes(undefined)) {
    const [peer] = await people(world, "peer");
    peers[placeOf(bucketOfPair(userId, peer!.userId))] ??= peer!;
  }
  return peers as Person[];
}

/** Creates a group of the user in the database. */
async function groupIn(database: number, { client, userId }: ClientDevice, userIds: string[]) {
  for (let n = 0; ; n++) {
    const clientGroupId = `g${n}-${database}`;
    if (placeOf(bucketOfGroup(userId, clientGroupId)) !== database) continue;
    const { group } = await client.groups.createGroup({ name: "g", userIds, clientGroupId });
    return group!.groupId;
  }
}

/** Asserts that the log has `count` entries of a conversation, and each number once. */
async function assertStored(conversationId: string, count: number): Promise<void> {
  const rows = await queryLogs(
    world,
    `SELECT count(*)::int AS stored, max(sequence)::int AS last FROM im.entry
      WHERE conversation_id = $1 HAVING count(*) > 0`,
    [conversationId],
  );
  assert.deepEqual(rows, [{ stored: count, last: count }]);
}

test("a database that is away delays its own conversations, and loses none of their messages", {
  timeout: TIMEOUT,
}, async (t) => {
  const AWAY = 1;
  const [ana] = await people(world, "ana");
  const peers = await peersOf(ana!);
  const a = await ana!.clientDevice();
  const devices = await Promise.all(peers.map((peer) => peer.clientDevice()));
  t.after(() => Promise.all([ana!, ...peers].map((one) => one.closeDevices())));
  t.after(() => setAway(AWAY, false));
  await Promise.all([a, ...devices].map(({ client }) => client.connect()));
  const send = (database: number, from: number, to: number) =>
    Promise.all(
      numbers(to)
        .slice(from)
        .map((n) => a.client.send({ userId: peers[database]!.userId }, n)),
    );
  const arrived = (database: number, count: number) =>
    devices[database]!.until(() => devices[database]!.texts().length === count);
  const conversations = await Promise.all(
    peers.map(async (_, at) => (await send(at, 0, 1))[0]!.conversationId),
  );
  const groups = await Promise.all(peers.map((peer, at) => groupIn(at, a, [peer.userId])));
  const { nextCursor } = await a.client.messages.sync({});

  await setAway(AWAY, true);
  // The others go on.
  for (const at of [0, 2]) await send(at, 1, 51);
  for (const at of [0, 2]) await arrived(at, 51);
  const content = text("refused");
  const target = { case: "conversationId", value: conversations[AWAY]! } as const;
  await assert.rejects(
    a.client.messages.send({ target, content, clientMessageId: "refused" }),
    (error) => reasonOf(error) === ErrorReason.UNAVAILABLE,
  );
  const page = await a.client.messages.sync({ cursor: nextCursor });
  // Groups may be told again: the acknowledgement of their first entry is a change.
  const told = page.conversations.map(({ conversationId }) => conversationId);
  assert.deepEqual(
    conversations.filter((id) => told.includes(id)),
    [conversations[0], conversations[2]],
  );
  assert.ok(told.every((id) => placeOf(bucketOf(id)) !== AWAY));
  assert.ok(page.retryAfterMs > 0n);
  // Servers that start meanwhile serve the others.
  await world.mesh.process("server-0").restart();
  await world.mesh.process("server-1").kill("SIGKILL");
  for (const at of [0, 2]) await send(at, 51, 61);
  for (const at of [0, 2]) await arrived(at, 61);
  await world.mesh.process("server-1").restart();
  // Sessions that open meanwhile hear the groups of the others. A raw device does not sync.
  const listener = await RawDevice.hello(world.url, (await peers[0]!.login()).accessToken);
  const late = await RawDevice.hello(world.url, (await peers[AWAY]!.login()).accessToken);
  t.after(() => Promise.all([listener.close(), late.close()]));
  const hears = (device: RawDevice, id: string) =>
    device.next("deliver", ({ entries }) => entries.some((one) => one.conversationId === id));
  await a.client.send({ conversationId: groups[0]! }, "to the others");
  await hears(listener, groups[0]!);
  const waiting = send(AWAY, 1, 51);

  await setAway(AWAY, false);
  await waiting;
  await arrived(AWAY, 51);
  for (const [at, device] of devices.entries()) {
    const count = at === AWAY ? 51 : 61;
    const expected = numbers(count);
    assert.deepEqual(device.texts(conversations[at]!), expected);
    assert.deepEqual(
      device.sequences(conversations[at]!),
      expected.map((_, n) => n + 1),
    );
    await assertStored(conversations[at]!, count);
  }
  // A server that has not found the database again says so, and the device syncs again.
  let rest = page;
  const delayed = new Set<string>();
  while (rest.retryAfterMs > 0n) {
    rest = await a.client.messages.sync({ cursor: rest.nextCursor });
    for (const { conversationId } of rest.conversations) delayed.add(conversationId);
  }
  assert.ok(delayed.has(conversations[AWAY]!));
  let heard = false;
  const hearing = hears(late, groups[AWAY]!).then(() => {
    heard = true;
  });
  while (!heard) {
    await a.client.send({ conversationId: groups[AWAY]! }, "is it heard?");
    await late.roundTrip();
  }
  await hearing;
});

/** Runs `npm run buckets` as its operator does. */
function buckets(...args: string[]): ChildProcess {
  return spawn(process.execPath, ["services/buckets.ts", ...args], {
    cwd: root,
    env: {
      PATH: process.env.PATH,
      LUCKY_LOG_LEVEL: "warn",
      LUCKY_MIGRATE_POSTGRES_LOG_URLS: logUrls.join(","),
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** Runs it to its end; returns its report. */
async function run(...args: string[]): Promise<string> {
  const child = buckets(...args);
  const [out, errors] = await Promise.all([
    textOf(child.stdout!),
    textOf(child.stderr!),
    once(child, "close"),
  ]);
  assert.equal(child.exitCode, 0, errors);
  return out.trim();
}

/** Starts a move, and kills it while its first bucket is fenced. */
async function killMove(from: number, to: number, list: string): Promise<void> {
  // The lock lets the move wait between the fence and the switch.
  const holder = await world.logs[to]!.connect();
  try {
    await holder.query("BEGIN; LOCK TABLE im.direct IN SHARE MODE");
    const child = buckets("move", list, "--to", `${to + 1}`);
    const closed = once(child, "close");
    const fenced = `SELECT FROM im.bucket WHERE state = ${BucketState.MOVING}`;
    while ((await world.logs[from]!.query(fenced)).rowCount === 0)
      assert.equal(child.exitCode, null);
    child.kill("SIGKILL");
    await closed;
  } finally {
    await holder.query("ROLLBACK");
    holder.release();
  }
}

/** People of whom each two have a conversation, and who share groups; all of them send. */
async function crowd(size: number) {
  const persons = await people(world, ...numbers(size).map((n) => `crowd${n}`));
  const devices = await Promise.all(persons.map((one) => one.clientDevice()));
  await Promise.all(devices.map(({ client }) => client.connect()));
  const ids = new Set<string>();
  const targets: { device: ClientDevice; conversationId: string }[] = [];
  for (const [at, device] of devices.entries())
    for (const other of devices.slice(at + 1)) {
      const { conversationId } = await device.client.send({ userId: other.userId }, "first");
      ids.add(conversationId);
      for (const one of [device, other]) targets.push({ device: one, conversationId });
    }
  const userIds = devices.slice(1).map(({ userId }) => userId);
  for (const database of [0, 1]) {
    const conversationId = await groupIn(database, devices[0]!, userIds);
    ids.add(conversationId);
    for (const device of devices) targets.push({ device, conversationId });
  }
  return { persons, devices, targets, conversationIds: [...ids] };
}

test("messages of many conversations flow while their buckets move, also after a killed move", {
  timeout: TIMEOUT,
}, async (t) => {
  const { persons, devices, targets, conversationIds } = await crowd(5);
  t.after(() => Promise.all(persons.map((one) => one.closeDevices())));
  const all = [...new Set(conversationIds.map(bucketOf))];
  let moving = true;
  /** Number of sends by sender and conversation. */
  const sent = new Map<string, number>();
  const sending = targets.map(async ({ device: { client, userId }, conversationId }) => {
    let n = 0;
    for (; moving; n++) await client.send({ conversationId }, `${n}`);
    sent.set(`${userId} ${conversationId}`, n);
  });
  try {
    const arriving = all.filter((bucket) => placeOf(bucket) !== 2);
    assert.equal(await run("move", all.join(), "--to", "3"), `Moved buckets: ${arriving.length}.`);
    await killMove(2, 0, all.join());
    assert.equal(await run("resume"), "Unfinished moves that were resumed: 1.");
    assert.equal(await run("move", all.join(), "--to", "1"), `Moved buckets: ${all.length}.`);
  } finally {
    moving = false;
  }
  await Promise.all(sending);

  const lasts = new Map<string, number>();
  for (const id of conversationIds) {
    const { rows } = await world.pool.query<{ last: number }>(
      "SELECT max(sequence)::int AS last FROM im.entry WHERE conversation_id = $1",
      [id],
    );
    lasts.set(id, rows[0]!.last);
    await assertStored(id, rows[0]!.last);
  }
  for (const device of devices)
    for (const { device: other, conversationId } of targets) {
      const isHeard = targets.some(
        (one) => one.device === device && one.conversationId === conversationId,
      );
      if (other === device || !isHeard) continue;
      const count = sent.get(`${other.userId} ${conversationId}`)!;
      const heard = () =>
        device.texts(conversationId, other.userId).filter((one) => one !== "first");
      await device.until(() => heard().length >= count);
      assert.deepEqual(heard(), numbers(count));
      const sequences = device.sequences(conversationId);
      assert.deepEqual(
        sequences,
        sequences.toSorted((x, y) => x - y),
      );
    }
  for (const [at, person] of persons.entries()) {
    const device = await person.clientDevice({ history: "all" });
    await device.client.connect();
    await device.client.caughtUp();
    const mine = targets.filter((one) => one.device === devices[at]);
    for (const { conversationId } of mine)
      assert.deepEqual(
        device.sequences(conversationId),
        numbers(lasts.get(conversationId)!).map((_, n) => n + 1),
      );
  }
});
