import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { PublicationState } from "#gen/lucky/operations/v1/operations_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { fragile } from "../log/fragile-pool.fixture.ts";
import { peersIn } from "../log/places.fixture.ts";
import { accepted, Stand, say, toConversation, untilOutboxEmpty } from "../server.fixture.ts";

const { logs: pools } = await startTestPostgres({ after }, { max: 12, logs: 3 });
/** A batch is given up after its first failed attempt. */
const GIVES_UP = { outboxAttempts: 1, outboxMaxBackoffMs: 1_000 };

/** Appends messages that the bus refuses until server gives their batches up. */
async function fail(stand: Stand, one: Awaited<ReturnType<Stand["server"]>>, keys: string[][]) {
  stand.busOutage = "silent";
  const results = [];
  for (const [from, to] of keys) results.push(...(await one.append(say(from!, to!, "m"))));
  const failed = () => one.operations("1").listFailedBatches({ pageSize: 200 });
  while ((await failed()).batches.length < keys.length) stand.clock.advance(2_000);
  stand.busOutage = "none";
  return results.map(accepted);
}

test("failed batches of all databases are listed with their reason, in pages, and replayed once, with an audit entry", async (t) => {
  const stand = new Stand(t, pools);
  const one = await stand.server(GIVES_UP);
  const peers = [0, 1, 2].map((database) => peersIn(database, 7_000, 7_100, 1)[0]!);
  const subscriber = await stand.instance(
    "connect-0",
    peers.map((peer) => `u:${peer}`),
  );
  const before = stand.clock.now();
  const sent = await fail(
    stand,
    one,
    peers.map((peer) => ["7000", peer]),
  );
  const operations = one.operations("88");

  const first = await operations.listFailedBatches({ pageSize: 2 });
  const second = await operations.listFailedBatches({
    pageSize: 2,
    pageToken: first.nextPageToken,
  });
  assert.equal(second.nextPageToken, "");
  const batches = [...first.batches, ...second.batches];
  assert.deepEqual(new Set(batches.map(({ database }) => database)), new Set([1, 2, 3]));
  for (const { conversationId } of sent) {
    const batch = batches.find(({ ranges }) => ranges[0]?.conversationId === conversationId)!;
    const { createdAtMs, failedAtMs, ...rest } = batch;
    assert.ok(createdAtMs >= BigInt(before) && failedAtMs > createdAtMs);
    assert.equal(rest.failure, "the bus is unreachable");
    assert.deepEqual([rest.attempts, rest.conversationCount, rest.entryCount], [1, 1, 1]);
    assert.deepEqual(rest.ranges[0]?.lastSequence, 1n);
  }
  await assert.rejects(operations.listFailedBatches({ pageToken: "x" }), (error) => {
    return reasonOf(error) === ErrorReason.INVALID_ARGUMENT;
  });

  const [chosen, ...others] = batches;
  const batchIds = [chosen!.batchId];
  assert.equal((await operations.replayFailedBatches({ batchIds, reason: "fixed" })).replayed, 1);
  assert.equal((await operations.replayFailedBatches({ batchIds })).replayed, 0);
  assert.equal((await operations.replayFailedBatches({})).replayed, others.length);
  await subscriber.until(({ entries }) => entries.length === 3);
  assert.deepEqual((await operations.listFailedBatches({})).batches, []);
  assert.deepEqual(
    stand.audit.map(({ actorId, action, detail, reason }) => [actorId, action, detail, reason]),
    [
      ["88", AuditAction.BATCHES_REPLAYED, "1 batches", "fixed"],
      ["88", AuditAction.BATCHES_REPLAYED, "1 batches", ""],
      ["88", AuditAction.BATCHES_REPLAYED, "all failed batches", ""],
    ],
  );
  await untilOutboxEmpty(stand);
});

test("a replay names the databases that cannot be reached, and replays the batches of the others", async (t) => {
  const second = fragile(pools[1]!);
  const stand = new Stand(t, [pools[0]!, second.pool, pools[2]!]);
  const one = await stand.server(GIVES_UP);
  const peers = [0, 1].map((database) => peersIn(database, 7_400, 7_500, 1)[0]!);
  await stand.instance(
    "connect-0",
    peers.map((peer) => `u:${peer}`),
  );
  await fail(
    stand,
    one,
    peers.map((peer) => ["7400", peer]),
  );
  const operations = one.operations("88");
  second.state = "away";
  const partly = await operations.replayFailedBatches({});
  assert.deepEqual([partly.replayed, partly.unreachableDatabases], [1, [2]]);
  second.state = "here";
  let rest = await operations.replayFailedBatches({});
  while (rest.unreachableDatabases.length > 0) {
    stand.clock.advance(1_000);
    rest = await operations.replayFailedBatches({});
  }
  assert.equal(rest.replayed, 1);
  await untilOutboxEmpty(stand);
});

test("nothing is replayed without its audit entry", async (t) => {
  const stand = new Stand(t, pools);
  const one = await stand.server(GIVES_UP);
  await stand.instance("connect-0", ["u:7201"]);
  await fail(stand, one, [["7200", "7201"]]);
  stand.refusesAudit = true;
  await assert.rejects(one.operations("88").replayFailedBatches({}), (error) => {
    return reasonOf(error) === ErrorReason.PERMISSION_DENIED;
  });
  assert.equal((await one.operations("88").listFailedBatches({})).batches.length, 1);
  await one.server.replay();
  await untilOutboxEmpty(stand);
});

test("a trace is audited, also one that finds nothing, and shows nothing without its audit entry", async (t) => {
  const stand = new Stand(t, pools);
  const one = await stand.server();
  const { conversationId } = accepted((await one.append(say("7250", "7251", "a")))[0]);
  const operations = one.operations("88");
  await operations.traceMessage({ conversationId, sequence: 1n, reason: "report of Ben" });
  await assert.rejects(operations.traceMessage({ conversationId: "1", sequence: 1n }));
  assert.deepEqual(
    stand.audit.map(({ actorId, action, detail, reason }) => [actorId, action, detail, reason]),
    [
      [
        "88",
        AuditAction.MESSAGE_TRACED,
        `conversation ${conversationId}, entry 1`,
        "report of Ben",
      ],
      ["88", AuditAction.MESSAGE_TRACED, "conversation 1, entry 1", ""],
    ],
  );
  stand.refusesAudit = true;
  await assert.rejects(operations.traceMessage({ conversationId, sequence: 1n }), (error) => {
    return reasonOf(error) === ErrorReason.PERMISSION_DENIED;
  });
});

test("a trace shows the state of an entry in the log, the outbox, the news and the cursors", async (t) => {
  const stand = new Stand(t, pools);
  const one = await stand.server(GIVES_UP);
  const subscriber = await stand.instance("connect-0", ["u:7301"]);
  const operations = one.operations("88");
  stand.busOutage = "known";
  const { conversationId, messageId, acceptedAtMs } = accepted(
    (await one.append(say("7300", "7301", "secret-text")))[0],
  );
  const trace = () => operations.traceMessage({ conversationId, sequence: 1n });
  const waiting = await trace();
  assert.equal(waiting.publication?.state, PublicationState.WAITING);
  assert.notEqual(waiting.publication.batchId, "0");
  assert.deepEqual([waiting.memberCount, waiting.deliveredCount, waiting.readCount], [2, 0, 0]);
  const { entry } = waiting;
  assert.equal(entry?.acceptedAtMs, acceptedAtMs);
  assert.deepEqual([entry.messageId, entry.senderId, entry.kind], [messageId, "7300", "text"]);
  assert.equal(entry.clientMessageId, "secret-text", "the key of the send, not its text");
  assert.ok(entry.bytes > 11);
  const { $typeName: _, ...asked } = stand.asked.at(-1)!;
  assert.deepEqual(asked, { conversationId, sequence: 1n, userIds: ["7300", "7301"] });
  assert.deepEqual(
    waiting.instances.map(({ instanceId, sessionCount, failure }) => [
      instanceId,
      sessionCount,
      failure,
    ]),
    [
      ["connect-0", 1, ""],
      ["connect-old", 0, "it announces no operator's port: an older version"],
    ],
  );

  stand.busOutage = "none";
  stand.clock.advance(8_000);
  await subscriber.until(({ entries }) => entries.length === 1);
  // The conversation may be in any of the databases.
  const isWaiting = async () => (await trace()).publication?.state === PublicationState.WAITING;
  while (await isWaiting()) stand.clock.advance(50);
  assert.equal((await trace()).publication?.state, PublicationState.CONFIRMED_RECENTLY);
  await one.messages("7301").acknowledge({
    cursors: [{ conversationId, deliveredSequence: 1n, readSequence: 0n }],
  });
  const delivered = await trace();
  assert.deepEqual([delivered.deliveredCount, delivered.readCount], [1, 0]);
  assert.deepEqual(delivered.members.map(({ userId }) => userId).sort(), ["7300", "7301"]);
  for (const pool of pools) await pool.query("DELETE FROM im.news");
  assert.equal((await trace()).publication?.state, PublicationState.CONFIRMED);

  await fail(stand, one, [["7300", "7301"]]).catch(() => {});
  const next = await operations.traceMessage({ conversationId, sequence: 2n });
  assert.equal(next.publication?.state, PublicationState.FAILED);
  assert.equal(next.publication.failure, "the bus is unreachable");
  await one.server.replay();
  await untilOutboxEmpty(stand);
  for (const [request, reason] of [
    [{ conversationId: "4711", sequence: 1n }, ErrorReason.CONVERSATION_NOT_FOUND],
    [{ conversationId, sequence: 3n }, ErrorReason.INVALID_ARGUMENT],
    [{ conversationId, sequence: 0n }, ErrorReason.INVALID_ARGUMENT],
  ] as const)
    await assert.rejects(operations.traceMessage(request), (error) => reasonOf(error) === reason);
});

test("the trace of a group's entry counts the members who may see it, and queries the group's channel", async (t) => {
  const stand = new Stand(t, pools);
  const one = await stand.server();
  const { group } = await one.groups("7400").createGroup({ name: "g", userIds: ["7401"] });
  const conversationId = group!.groupId;
  await one.append({ from: "7400", to: toConversation(conversationId), key: "k", text: "t" });
  await one.groups("7400").addMembers({ groupId: conversationId, userIds: ["7402"] });
  const operations = one.operations("88");
  const message = await operations.traceMessage({ conversationId, sequence: 2n });
  assert.equal(message.memberCount, 2);
  assert.deepEqual(stand.asked.at(-1)?.userIds, []);
  const tip = await operations.traceMessage({ conversationId, sequence: 3n });
  assert.deepEqual([tip.memberCount, tip.entry?.kind, tip.entry?.senderId], [3, "tip", "7400"]);
  await untilOutboxEmpty(stand);
});

test("dead letters are listed newest first over all databases, in pages, and the last ones are kept", async (t) => {
  const stand = new Stand(t, pools);
  const one = await stand.server();
  const letter = (at: number) => ({
    atMs: BigInt(at),
    queue: "connect-0",
    reason: "rejected",
    bytes: 7,
    conversationCount: 1,
    ranges: [{ conversationId: "5", firstSequence: 2n, lastSequence: 3n }],
  });
  const numbers = Array.from({ length: 30 }, (_, i) => i);
  for (const [at, pool] of pools.entries())
    await pool.query(
      `INSERT INTO im.dead_letter (at_ms, queue, reason, bytes, conversations, conversation_ids, first_sequences, last_sequences)
       SELECT n / 2, $1, 'maxlen', 1, 0, '{}', '{}', '{}' FROM generate_series(0, 29) n`,
      [`queue-${at}`],
    );
  for (let part = 0; part < 11; part++)
    await one.ingress.recordDeadLetters({
      letters: Array.from({ length: 100 }, (_, i) => letter(1_000 + part * 100 + i)),
    });
  const operations = one.operations("88");
  const found = [];
  for (let pageToken = "", more = true; more; ) {
    const page = await operations.listDeadLetters({ pageSize: 7, pageToken });
    found.push(...page.letters);
    pageToken = page.nextPageToken;
    more = pageToken !== "";
  }
  const recorded = found.filter(({ reason }) => reason === "rejected");
  assert.equal(recorded.length, 1_000);
  const { $typeName: _, ...newest } = recorded[0]!;
  assert.deepEqual({ ...newest, ranges: [] }, { ...letter(2_099), ranges: [] });
  assert.equal(recorded[0]!.ranges[0]!.lastSequence, 3n);
  const others = found.filter(({ reason }) => reason === "maxlen");
  // The first database has stored the recorded ones, and deleted its older ones.
  assert.equal(others.length, 2 * numbers.length);
  const times = found.map(({ atMs }) => Number(atMs));
  assert.deepEqual(
    times,
    times.toSorted((a, b) => b - a),
  );
  await assert.rejects(operations.listDeadLetters({ pageToken: "eA" }), (error) => {
    return reasonOf(error) === ErrorReason.INVALID_ARGUMENT;
  });
});
