import assert from "node:assert/strict";
import { after, test } from "node:test";
import { RawDevice } from "../devices/raw-device.ts";
import { type Person, people } from "../world/people.ts";
import { startWorld, type World } from "../world/world.ts";

const TIMEOUT = 120_000;
const HOUR_MS = 3_600_000;
const world = await startWorld({ after });
const { clock } = world;

/** Two connected devices that record each change of their sessions, and a group of both. */
async function connected([ana, ben]: readonly Person[]) {
  const devices = await Promise.all([ana!.clientDevice({ clock }), ben!.clientDevice({ clock })]);
  const [a, b] = devices;
  await Promise.all([a.client.connect(), b.client.connect()]);
  const states: string[] = [];
  for (const { client } of devices) client.on("state", ({ kind }) => states.push(kind));
  const { group } = await a.client.groups.createGroup({ name: "g", userIds: [ben!.userId] });
  const groupId = group!.groupId;
  const close = () => Promise.all([ana!.closeDevices(), ben!.closeDevices()]);
  return { a, b, groupId, states, close };
}

/** The processes that hold a worker number, by number. */
async function holders({ pool }: World): Promise<unknown[]> {
  const sql = "SELECT number, holder FROM lucky.worker WHERE expires_at > now() ORDER BY number";
  return (await pool.query(sql)).rows;
}

/** The earliest end of the times that are reserved for ids. */
async function earliestReservation({ pool }: World): Promise<number> {
  const sql = "SELECT min(reserved_until_ms) AS until FROM lucky.worker WHERE expires_at > now()";
  return Number((await pool.query<{ until: string }>(sql)).rows[0]!.until);
}

test("when the time of day steps by an hour, either way, nobody notices", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben, cara] = await people(world, "ana", "ben", "cara");
  const { a, b, groupId, states, close } = await connected([ana!, ben!]);
  t.after(close);
  // A device that never renews its token.
  const lazy = await RawDevice.hello(world.url, (await cara!.login()).accessToken);
  t.after(() => lazy.close());
  const before = await holders(world);
  const messageIds: string[] = [];
  let round = 0;
  for (const stepMs of [HOUR_MS, -HOUR_MS, -HOUR_MS, HOUR_MS]) {
    await clock.step(stepMs);
    // Every process checks its sessions and renews its leases.
    await clock.advance(6_000);
    round++;
    for (const target of [{ userId: ben!.userId }, { conversationId: groupId }]) {
      messageIds.push((await a.client.send(target, "to ben")).messageId);
    }
    for (const target of [{ userId: ana!.userId }, { conversationId: groupId }]) {
      messageIds.push((await b.client.sendByRpc(target, "to ana")).messageId);
    }
    await b.until(() => b.texts().length === 2 * round);
    await a.until(() => a.texts().length === 2 * round);
    await lazy.roundTrip();
  }
  assert.equal(new Set(messageIds).size, messageIds.length);
  assert.deepEqual(states, []);
  assert.deepEqual(await holders(world), before);
});

test("conversations and messages with ids of 19 digits work like any other", {
  timeout: TIMEOUT,
}, async (t) => {
  await clock.step(Date.UTC(2033, 0, 1) - clock.now());
  // Ids contain the new time of day after the next renewal of the workers' leases.
  await clock.advance(6_000);
  while ((await earliestReservation(world)) < clock.now()) await new Promise(setImmediate);
  const [dan, eve] = await people(world, "dan", "eve");
  const { a, b, groupId, close } = await connected([dan!, eve!]);
  t.after(close);
  const target = { userId: eve!.userId };
  const { conversationId, messageId, sequence } = await a.client.send(target, "hi");
  for (const id of [groupId, conversationId, messageId]) assert.equal(id.length, 19);
  await b.until(() => b.texts().length === 1);
  await a.client.send({ conversationId: groupId }, "hi all");
  await b.until(() => b.texts(groupId).length === 1);
  b.client.markRead(conversationId, sequence);
  await a.until(() => a.receipts.some((receipt) => receipt.readSequence === sequence));
  const { entries } = await b.client.messages.listEntries({
    conversationId,
    position: { case: "afterSequence", value: 0n },
  });
  assert.deepEqual(
    entries.map((entry) => entry.messageId),
    [messageId],
  );
  // The missed messages of both conversations come by sync.
  await b.client.close();
  for (const missed of [{ conversationId }, { conversationId: groupId }])
    await a.client.send(missed, "missed");
  await b.client.connect();
  await b.until(() => b.texts().length === 4);
});
