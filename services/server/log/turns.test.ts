import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import pg from "pg";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { failsWith } from "#platform/errors.fixture.ts";
import { reasonOf } from "#platform/errors.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { newUsers, Talk } from "../changes/changes.fixture.ts";
import { contentOf, Stand, toUser } from "../server.fixture.ts";
import { Turns } from "./turns.ts";

/** Fewer connections than waiting changes. */
const CONNECTIONS = 4;
const { pool, url } = await startTestPostgres({ after }, { max: CONNECTIONS });

test("works of one conversation run one after the other, those of others meanwhile", async () => {
  const turns = new Turns();
  const ends: string[] = [];
  const open = Promise.withResolvers<void>();
  const first = turns.run("1", async () => {
    await open.promise;
    ends.push("first");
  });
  const failing = turns.run("1", async () => {
    ends.push("failing");
    throw new Error("no");
  });
  const third = turns.run("1", async () => void ends.push("third"));
  await turns.run("2", async () => void ends.push("other"));
  assert.deepEqual(ends, ["other"]);
  open.resolve();
  await first;
  await assert.rejects(failing, /^Error: no$/);
  await third;
  assert.deepEqual(ends, ["other", "first", "failing", "third"]);
});

test("works beyond the bound are refused with OVERLOADED, and later ones run again", async () => {
  const turns = new Turns();
  const open = Promise.withResolvers<void>();
  const waiting = Array.from({ length: 1_000 }, () => turns.run("1", () => open.promise));
  await assert.rejects(
    turns.run("1", () => open.promise),
    (error) => reasonOf(error) === ErrorReason.OVERLOADED,
  );
  await turns.run("2", async () => {});
  open.resolve();
  await Promise.all(waiting);
  await turns.run("1", async () => {});
});

test("changes that wait for a locked conversation leave connections to others", async (t) => {
  const stand = new Stand(t, pool);
  const talk = await Talk.group(stand, { others: 1 });
  const sequence = await talk.send(talk.owner, "hi");
  const other = new pg.Client({ connectionString: url });
  await other.connect();
  t.after(() => other.end());
  await other.query("BEGIN");
  await other.query("SELECT 1 FROM im.conversation WHERE conversation_id = $1 FOR UPDATE", [
    talk.id,
  ]);
  const { groups } = talk.server;
  const waiting: Promise<unknown>[] = Array.from({ length: 10 }, (_, at) =>
    at % 2 === 0
      ? talk.pin(talk.owner, sequence)
      : groups(talk.owner).addMembers({ groupId: talk.id, userIds: newUsers(1) }),
  );
  await turn();
  const [ana, ben] = newUsers(2) as [string, string];
  const { accepted } = await talk.server.messages(ana).send({
    target: toUser(ben),
    clientMessageId: "k",
    content: contentOf("not kept waiting"),
  });
  assert.equal(accepted!.sequence, 1n);
  await other.query("COMMIT");
  await Promise.all(waiting);
  await assert.rejects(talk.pin(ben, sequence), failsWith("CONVERSATION_NOT_FOUND"));
});
