import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { ListAccountChangesResponseSchema } from "#gen/lucky/internal/session/v1/session_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { quiet, startTestPostgres } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import {
  accepted,
  type Outgoing,
  type RunningServer,
  refused,
  Stand,
  say,
  toConversation,
} from "../server.fixture.ts";
import { watchAccountChanges } from "./account-changes.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

let keys = 0;

/** Sends with new keys, once a second, until the outcome is the wanted one. Returns the last key. */
async function sendUntil(
  stand: Stand,
  server: RunningServer,
  send: (key: string) => Outgoing,
  wanted: ErrorReason | "accepted",
): Promise<string> {
  for (;;) {
    const key = `until-${++keys}`;
    const [result] = await server.append(send(key));
    const outcome = result?.outcome.case === "accepted" ? "accepted" : refused(result);
    if (outcome === wanted) return key;
    stand.clock.advance(1_000);
  }
}

test("every server refuses messages to a user whose account was deleted, also in existing conversations", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  const [first] = await one.append(say("101", "102", "first"));
  const { conversationId } = accepted(first);
  accepted((await two.append(say("101", "102", "second")))[0]);
  const byConversation = (key: string): Outgoing => ({
    ...say("101", "102", key),
    to: toConversation(conversationId),
  });

  stand.accounts.change("102", "deleted");
  for (const server of [one, two]) {
    await sendUntil(stand, server, (key) => say("101", "102", key), ErrorReason.USER_NOT_FOUND);
    const [again, fromNew] = await server.append(
      byConversation(`by-conversation-${++keys}`),
      say("103", "102", `new-${++keys}`),
    );
    assert.equal(refused(again), ErrorReason.USER_NOT_FOUND);
    assert.equal(refused(fromNew), ErrorReason.USER_NOT_FOUND);
  }
  // A retry of an accepted message gets its first answer.
  assert.deepEqual(accepted((await two.append(say("101", "102", "first")))[0]), accepted(first));

  // A server that starts later, or whose cache is empty, accepts no message either.
  const three = await stand.server();
  const [byUser] = await three.append(say("101", "102", "third"));
  assert.equal(refused(byUser), ErrorReason.USER_NOT_FOUND);
  const four = await stand.server();
  const [byId] = await four.append(byConversation("fourth"));
  assert.equal(refused(byId), ErrorReason.USER_NOT_FOUND);
});

test("messages to a disabled account are refused, and accepted again after it is enabled", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  await one.append(say("111", "112", "first"));
  const send = (key: string) => say("111", "112", key);
  stand.accounts.change("112", "disabled");
  const key = await sendUntil(stand, one, send, ErrorReason.ACCOUNT_DISABLED);
  const [fromNew, toOthers] = await one.append(say("113", "112", "new"), say("111", "114", "fine"));
  assert.equal(refused(fromNew), ErrorReason.ACCOUNT_DISABLED);
  accepted(toOthers);
  stand.accounts.change("112", "active");
  await sendUntil(stand, one, send, "accepted");
  // The retry of a refused message is a new message.
  accepted((await one.append(send(key)))[0]);
});

test("more changes than one page holds all arrive", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const users = ["122", "123", "124", "125", "126"];
  await one.append(...users.map((userId) => say("121", userId, "first")));
  for (const userId of users) stand.accounts.change(userId, "deleted");
  for (const userId of users.toReversed()) {
    const send = (key: string) => say("121", userId, key);
    await sendUntil(stand, one, send, ErrorReason.USER_NOT_FOUND);
  }
});

test("after a backup of auth was restored, the states are asked for again", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  await one.append(say("131", "132", "first"));
  const send = (key: string) => say("131", "132", key);
  stand.accounts.change("132", "deleted");
  await sendUntil(stand, one, send, ErrorReason.USER_NOT_FOUND);
  stand.accounts.restore();
  await sendUntil(stand, one, send, "accepted");
});

test("while auth cannot list changes, the cache is cleared every minute, until auth is updated", async (t) => {
  const clock = new ManualClock();
  let updated = false;
  let polls = 0;
  let clears = 0;
  const watch = watchAccountChanges({
    clock,
    log: quiet,
    sessions: {
      async listAccountChanges() {
        polls += 1;
        if (!updated) throw new ConnectError("no such method", Code.Unimplemented);
        return create(ListAccountChangesResponseSchema, { nextCursor: 1n });
      },
    },
    users: { evict() {}, clear: () => void clears++ },
  });
  t.after(() => watch.close());
  const poll = async (times: number) => {
    for (let nth = 0; nth < times; nth++) {
      await turn();
      clock.advance(1_000);
    }
    await turn();
  };
  await poll(0);
  assert.equal(clears, 1);
  await poll(59);
  assert.equal(clears, 1);
  await poll(1);
  assert.equal(clears, 2);
  await poll(60);
  assert.deepEqual([clears, polls], [3, 121]);
  updated = true;
  await poll(120);
  // The first answer has no changes from before it.
  assert.equal(clears, 4);
});

test("a user whose account was deleted or disabled is not added to a group", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const groups = one.groups("141");
  const { group } = await groups.createGroup({ name: "g", userIds: ["142", "143"] });
  const groupId = group!.groupId;
  await groups.removeMember({ groupId, userId: "142" });
  await groups.removeMember({ groupId, userId: "143" });
  stand.accounts.change("142", "deleted");
  stand.accounts.change("143", "disabled");
  for (const [userId, reason] of [
    ["142", ErrorReason.USER_NOT_FOUND],
    ["143", ErrorReason.ACCOUNT_DISABLED],
  ] as const) {
    await sendUntil(stand, one, (key) => say("141", userId, key), reason);
    const because = (error: unknown) => reasonOf(error) === reason;
    await assert.rejects(groups.addMembers({ groupId, userIds: ["144", userId] }), because);
    await assert.rejects(groups.createGroup({ name: "h", userIds: [userId] }), because);
  }
  assert.equal((await groups.getGroup({ groupId })).group!.memberCount, 1);
});

test("a user is checked once, however many messages follow, in both directions and on all paths", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { conversationId } = accepted((await one.append(say("151", "152", "m0")))[0]);
  for (let n = 1; n <= 20; n += 1) {
    const to = toConversation(conversationId);
    await one.append(say("151", "152", `m${n}`), { ...say("152", "", `a${n}`), to });
  }
  assert.ok(stand.accounts.asked.filter((userId) => userId === "152").length <= 2);
  assert.ok(stand.accounts.asked.filter((userId) => userId === "151").length <= 2);
});

test("while auth does not answer, messages in existing conversations are accepted", async (t) => {
  const stand = new Stand(t, pool);
  const before = await stand.server();
  await before.append(say("161", "162", "first"));
  const one = await stand.server();
  stand.authAnswers = Promise.reject(new Error("auth is down"));
  stand.authAnswers.catch(() => {});
  accepted((await one.append(say("161", "162", "second")))[0]);
  assert.equal(refused((await one.append(say("161", "163", "new")))[0]), ErrorReason.UNAVAILABLE);
});
