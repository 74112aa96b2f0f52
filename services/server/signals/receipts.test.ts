import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import type { Statement } from "../log/database.ts";
import { accepted, Stand, say } from "../server.fixture.ts";
import { updateCursors } from "./receipts.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

test("cursors only move forward, never past the end, and reading moves the delivered cursor", async (t) => {
  const one = await new Stand(t, pool).server();
  const sends = Array.from({ length: 10 }, (_, i) => say("101", "102", `m${i}`));
  const { conversationId } = accepted((await one.append(...sends))[0]);
  const cursors = async () => {
    const { receipts } = await one.messages("101").listReceipts({ conversationId });
    const receipt = receipts.find(({ userId }) => userId === "102");
    return [Number(receipt!.deliveredSequence), Number(receipt!.readSequence)];
  };
  const advance = (deliveredSequence: number, readSequence: number) =>
    one.messages("102").acknowledge({
      cursors: [
        {
          conversationId,
          deliveredSequence: BigInt(deliveredSequence),
          readSequence: BigInt(readSequence),
        },
      ],
    });
  await advance(4, 0);
  assert.deepEqual(await cursors(), [4, 0]);
  await advance(2, 1);
  assert.deepEqual(await cursors(), [4, 1]);
  await advance(0, 6);
  assert.deepEqual(await cursors(), [6, 6]);
  await advance(3, 3);
  assert.deepEqual(await cursors(), [6, 6]);
  await advance(1_000, 999);
  assert.deepEqual(await cursors(), [10, 10]);
});

test("a batch moves the cursors of many users, and skips non-members", async (t) => {
  const one = await new Stand(t, pool).server();
  const users = Array.from({ length: 50 }, (_, i) => `${1_100 + i}`);
  const results = await one.append(...users.map((user) => say("1099", user, "m")));
  const advances = results.flatMap((result, i) => {
    const { conversationId } = accepted(result);
    const cursor = { conversationId, deliveredSequence: 1n, readSequence: 0n };
    return [
      { userId: users[i]!, cursor },
      { userId: users[i]!, cursor: { ...cursor, readSequence: 1n } },
      { userId: "1098", cursor },
      { userId: users[i]!, cursor: { ...cursor, conversationId: "55" } },
    ];
  });
  await one.ingress.advanceBatch({ advances });
  const { rows } = await pool.query(
    `SELECT count(*)::int AS n FROM im.member
      WHERE user_id BETWEEN 1100 AND 1149 AND delivered_sequence = 1 AND read_sequence = 1`,
  );
  assert.equal(rows[0].n, 50);
});

test("the peer gets each receipt once, and the user's own devices get moved read cursors", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { conversationId } = accepted((await one.append(say("121", "122", "m")))[0]);
  const subscriber = await stand.instance("connect-0", ["u:121", "u:122"]);
  const cursor = { conversationId, deliveredSequence: 1n, readSequence: 0n };
  await one.ingress.advanceBatch({ advances: [{ userId: "122", cursor }] });
  await one.ingress.advanceBatch({ advances: [{ userId: "122", cursor }] });
  await one.ingress.advanceBatch({
    advances: [{ userId: "122", cursor: { ...cursor, readSequence: 1n } }],
  });
  await subscriber.until(({ frames }) => frames.length === 2);
  assert.deepEqual(
    subscriber.envelopes.flatMap(({ signals }) => signals.map(({ channels }) => channels)),
    [["u:121"], ["u:121", "u:122"]],
  );
  const receipts = subscriber.frames.map(({ kind }) =>
    kind.case === "receipt" ? kind.value : undefined,
  );
  assert.deepEqual(
    receipts.map((r) => [r?.userId, r?.deliveredSequence, r?.readSequence]),
    [
      ["122", 1n, 0n],
      ["122", 1n, 1n],
    ],
  );
});

test("in a group only the reader's own devices get a receipt", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { group } = await one.groups("131").createGroup({ name: "g", userIds: ["132"] });
  const conversationId = group!.groupId;
  const subscriber = await stand.instance("connect-0", ["u:131", "u:132"]);
  const advance = (deliveredSequence: bigint, readSequence: bigint) =>
    one.ingress.advanceBatch({
      advances: [{ userId: "132", cursor: { conversationId, deliveredSequence, readSequence } }],
    });
  await advance(1n, 0n);
  await advance(1n, 1n);
  await subscriber.until(({ frames }) => frames.length === 1);
  const signals = subscriber.envelopes.flatMap((envelope) => envelope.signals);
  assert.deepEqual(
    signals.map(({ channels }) => channels),
    [["u:132"]],
  );
});

test("a silent device is reported to the other user of a direct conversation", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { conversationId } = accepted((await one.append(say("141", "142", "m")))[0]);
  const subscriber = await stand.instance("connect-0", ["u:141", "u:142"]);
  const cursor = { conversationId, deliveredSequence: 0n, readSequence: 0n };
  await one.ingress.advanceBatch({
    advances: [
      { userId: "142", cursor, undeliveredSequence: 1n },
      { userId: "143", cursor, undeliveredSequence: 1n },
    ],
  });
  await subscriber.until(({ frames }) => frames.length === 1);
  const [frame] = subscriber.frames;
  assert.equal(frame!.kind.case, "receipt");
  const receipt = frame!.kind.value as { userId: string; undeliveredSequence: bigint };
  assert.deepEqual([receipt.userId, receipt.undeliveredSequence], ["142", 1n]);
  assert.deepEqual(subscriber.envelopes[0]!.signals[0]!.channels, ["u:141"]);
  assert.match(await one.metrics.text(), /lucky_undelivered_total 2/);
});

test("receipts are listed in pages by ascending user id, to members only", async (t) => {
  const one = await new Stand(t, pool).server();
  const users = Array.from({ length: 7 }, (_, i) => `${2_200 + i}`);
  const [owner, ...others] = users;
  const { group } = await one.groups(owner!).createGroup({ name: "g", userIds: others });
  const conversationId = group!.groupId;
  const cursors = [{ conversationId, deliveredSequence: 1n }];
  await one.messages("2204").acknowledge({ cursors });
  const list = (pageSize: number, pageToken = "", userId = "2203") =>
    one.messages(userId).listReceipts({ conversationId, pageSize, pageToken });
  const ids: string[] = [];
  let pageToken = "";
  const sizes: number[] = [];
  do {
    const page = await list(3, pageToken);
    for (const { userId, deliveredSequence } of page.receipts) {
      ids.push(userId);
      assert.equal(deliveredSequence, userId === "2204" ? 1n : 0n);
    }
    sizes.push(page.receipts.length);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  assert.deepEqual([ids, sizes], [users, [3, 3, 1]]);
  const whole = await list(7);
  assert.deepEqual([whole.receipts.length, whole.nextPageToken], [7, ""]);
  assert.equal((await list(0)).receipts.length, 7);

  const { nextPageToken } = await list(6);
  await one.groups(owner!).removeMember({ groupId: conversationId, userId: "2206" });
  assert.deepEqual((await list(6, nextPageToken)).receipts, [], "the last page may become empty");
  const refusedWith = (reason: ErrorReason) => (error: unknown) => reasonOf(error) === reason;
  for (const former of ["2206", "2299"])
    await assert.rejects(
      list(6, nextPageToken, former),
      refusedWith(ErrorReason.CONVERSATION_NOT_FOUND),
    );
  await assert.rejects(list(6, "?"), refusedWith(ErrorReason.INVALID_ARGUMENT));
  await assert.rejects(list(1_001), refusedWith(ErrorReason.INVALID_ARGUMENT));
});

test("cursors of another epoch are ignored, over RPC and from connect", async (t) => {
  const one = await new Stand(t, pool).server();
  const sends = Array.from({ length: 9 }, (_, i) => say("2301", "2302", `m${i}`));
  const { conversationId } = accepted((await one.append(...sends))[0]);
  const epoch = await raiseEpoch(conversationId);
  const seen = async () => {
    const target = { case: "conversationId", value: conversationId } as const;
    const { conversation } = await one.conversations("2302").getConversation({ target });
    return [Number(conversation!.deliveredSequence), Number(conversation!.readSequence)];
  };
  const cursor = (epoch: bigint, deliveredSequence: bigint, readSequence = 0n) => ({
    conversationId,
    deliveredSequence,
    readSequence,
    epoch,
  });
  const acknowledge = (...cursors: ReturnType<typeof cursor>[]) =>
    one.messages("2302").acknowledge({ cursors });
  const advance = (...cursors: ReturnType<typeof cursor>[]) =>
    one.ingress.advanceBatch({ advances: cursors.map((cursor) => ({ userId: "2302", cursor })) });

  await acknowledge(cursor(epoch - 1n, 8n, 8n));
  await advance(cursor(epoch - 1n, 8n, 8n), cursor(epoch + 1n, 9n));
  assert.deepEqual(await seen(), [0, 0]);
  await acknowledge(cursor(epoch, 2n));
  assert.deepEqual(await seen(), [2, 0]);
  // A newer and an older device acknowledge in one batch: their cursors are not joined.
  await advance(cursor(epoch - 1n, 9n), cursor(epoch, 3n, 1n), cursor(epoch - 1n, 0n, 9n));
  assert.deepEqual(await seen(), [3, 1]);
  await advance(cursor(epoch, 4n), cursor(0n, 5n), cursor(epoch - 1n, 9n), cursor(0n, 0n, 2n));
  assert.deepEqual(await seen(), [5, 2]);
  await advance(cursor(0n, 6n), cursor(epoch, 0n, 7n));
  assert.deepEqual(await seen(), [7, 7]);
});

test("a device that invents epochs costs few statements, and delays no cursors of others", async (t) => {
  let advances = 0;
  const observe = (_database: number, { name }: Statement) => {
    if (name === updateCursors.name) advances += 1;
  };
  const one = await new Stand(t, pool).server({}, { observe });
  const sends = [say("2311", "2312", "m"), say("2311", "2313", "m")];
  const [first, second] = (await one.append(...sends)).map(accepted);
  const invented = Array.from({ length: 500 }, (_, i) => ({
    userId: "2312",
    cursor: { conversationId: first!.conversationId, deliveredSequence: 1n, epoch: BigInt(i + 7) },
  }));
  const { conversationId } = second!;
  const cursor = { conversationId, deliveredSequence: 1n };
  await one.ingress.advanceBatch({ advances: [...invented, { userId: "2313", cursor }] });
  assert.ok(advances <= 4, `${advances} statements`);
  const target = { case: "conversationId", value: conversationId } as const;
  const { conversation } = await one.conversations("2313").getConversation({ target });
  assert.equal(conversation!.deliveredSequence, 1n);
});

/** Raises the epoch of a conversation's bucket, as a restore does; returns it. */
async function raiseEpoch(conversationId: string): Promise<bigint> {
  const { rows } = await pool.query(
    "UPDATE im.bucket SET epoch = epoch + 5 WHERE bucket = $1::bigint & 1023 RETURNING epoch",
    [conversationId],
  );
  return BigInt(rows[0].epoch);
}
