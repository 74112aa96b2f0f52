import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import {
  accepted,
  type Outgoing,
  refused,
  Stand,
  say,
  toConversation,
  toUser,
} from "../server.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 8 });

test("a sender of many duplicates causes only one retry for other senders, until it has sent no duplicate for a minute", async (t) => {
  const stand = new Stand(t, pool);
  // The other test uses the same worker number, so the ids of this test need another time.
  stand.clock.advance(1_000);
  const one = await stand.server();
  const retries = async () => {
    const found = /lucky_append_retries_total\{cause="duplicate"\} (\d+)/.exec(
      await one.metrics.text(),
    );
    return Number(found?.[1] ?? 0);
  };
  let count = 0;
  const sendWithOther = async (...duplicates: Outgoing[]) => {
    const other = { from: "13", to: toUser("14"), key: `n${++count}`, text: "hi" };
    return (await one.append(other, ...duplicates)).map((result) => accepted(result).sequence);
  };
  const same = { from: "11", to: toUser("12"), key: "same", text: "hi" };
  assert.deepEqual(await sendWithOther(same), [1, 1]);
  assert.equal(await retries(), 0);
  assert.deepEqual(await sendWithOther(same), [2, 1]);
  assert.equal(await retries(), 1);
  const twice = { ...same, key: "twice" };
  assert.deepEqual(
    await sendWithOther(same, twice, twice, { ...same, key: "new" }),
    [3, 1, 2, 2, 3],
  );
  assert.deepEqual(await sendWithOther(twice), [4, 2]);
  assert.equal(await retries(), 1);
  stand.clock.advance(40_000);
  assert.deepEqual(await sendWithOther(same), [5, 1]);
  stand.clock.advance(40_000);
  assert.deepEqual(await sendWithOther(same), [6, 1]);
  assert.equal(await retries(), 1);
  stand.clock.advance(60_000);
  assert.deepEqual(await sendWithOther(same), [7, 1]);
  assert.equal(await retries(), 2);

  // For a non-member all copies of a key are refused with NOT_A_MEMBER.
  const { group } = await one.groups("13").createGroup({ name: "g", userIds: ["14"] });
  const to = toConversation(group!.groupId);
  const copies = Array.from({ length: 20 }, () => ({ from: "11", to, key: "k", text: "hi" }));
  const reasons = (await one.append(...copies)).map(refused);
  assert.deepEqual(new Set(reasons), new Set([ErrorReason.NOT_A_MEMBER]));
});

test("queued sends after a failed send do not overtake its retry", async (t) => {
  let failures = 0;
  const flaky = Object.create(pool, {
    connect: {
      value: () => (failures-- > 0 ? Promise.reject(new Error("unreachable")) : pool.connect()),
    },
  });
  const one = await new Stand(t, flaky).server({ laneBatchCount: 1 });
  const [made] = await one.append({ from: "1", to: toUser("2"), key: "m0", text: "m0" });
  const to = toConversation(accepted(made).conversationId);
  const batch = ["m1", "m2", "m3"].map((key) => ({ from: "1", to, key, text: key }));
  failures = 1;
  await assert.rejects(one.append(...batch));
  const sequences = (await one.append(...batch)).map((result) => accepted(result).sequence);
  assert.deepEqual(sequences, [2, 3, 4]);
});

test("while auth looks up a user, only sends to that user wait, in their order", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const [, made] = await one.append(
    say("21", "22", "m1"),
    say("21", "23", "m1"),
    say("24", "23", "m1"),
  );
  await untilEvicted(stand, "22");
  const heard = await stand.instance("connect-0", ["u:23"]);
  const asked = Promise.withResolvers<void>();
  stand.authAnswers = asked.promise;
  stand.accounts.asked.length = 0;

  const ended: string[] = [];
  const append = async (...sends: Outgoing[]) => {
    const results = await one.append(...sends);
    ended.push(sends[0]!.key);
    return results.map((result) => accepted(result).sequence);
  };
  // The calls of one turn share a batch.
  const waiting = [
    append(say("21", "22", "m2"), say("21", "23", "m2")),
    append(say("21", "22", "m3")),
  ];
  assert.deepEqual(await append(say("24", "23", "other")), [2]);
  await heard.until(({ texts }) => texts.includes("m2"));
  waiting.push(append(say("21", "22", "m4")));
  const { conversationId } = accepted(made);
  assert.deepEqual(
    await append({ ...say("21", "", "third"), to: toConversation(conversationId) }),
    [3],
  );
  assert.deepEqual(ended, ["other", "third"]);
  assert.deepEqual(stand.accounts.asked, ["22"]);

  asked.resolve();
  assert.deepEqual(await Promise.all(waiting), [[2, 2], [3], [4]]);
});

test("a send is refused after three look-ups when the cache cannot keep the other user", async (t) => {
  const one = await new Stand(t, pool).server({ cachedUsers: 1 });
  const sends = ["41", "42", "43", "44", "45", "46"].map((from) => say(from, `${from}0`, "m"));
  const results = await one.append(...sends);
  const overloaded = results.filter(({ outcome }) => outcome.case === "refused").map(refused);
  // One send is allowed at once, and one more after each of three look-ups.
  assert.deepEqual(overloaded, [ErrorReason.OVERLOADED, ErrorReason.OVERLOADED]);
});

test("a batch that fails does not fail the sends that wait for auth", async (t) => {
  let failing = false;
  const flaky = Object.create(pool, {
    connect: {
      value: () => (failing ? Promise.reject(new Error("unreachable")) : pool.connect()),
    },
  });
  const stand = new Stand(t, pool);
  const one = await stand.server({}, { pools: [flaky] });
  await one.append(say("51", "52", "m1"), say("51", "53", "m1"));
  await untilEvicted(stand, "52");
  const asked = Promise.withResolvers<void>();
  stand.authAnswers = asked.promise;
  failing = true;
  const waiting = one.append(say("51", "52", "m2"));
  await assert.rejects(one.append(say("51", "53", "m2")));
  failing = false;
  asked.resolve();
  assert.equal(accepted((await waiting)[0]).sequence, 2);
});

/** Reports a change of a user's account, and resolves when the servers have evicted the user. */
async function untilEvicted({ accounts, clock }: Stand, userId: string): Promise<void> {
  accounts.change(userId, "active");
  // The second poll starts after the first has evicted the user.
  for (const { polls } = accounts; accounts.polls < polls + 2; await turn()) clock.advance(1_000);
}
