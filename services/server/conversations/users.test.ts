import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CheckUsersResponseSchema } from "#gen/lucky/internal/session/v1/session_pb.js";
import { fail, reasonOf } from "#platform/errors.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { TestAccounts } from "./accounts.fixture.ts";
import { Users } from "./users.ts";

/** A cache in front of accounts whose answers may be delayed, or fail. */
function setUp() {
  const clock = new ManualClock();
  const accounts = new TestAccounts(100);
  const auth = { down: false, answers: Promise.resolve() };
  const users = new Users({
    clock,
    cached: 10,
    timeoutMs: 2_000,
    sessions: {
      async checkUsers({ userIds = [] }) {
        const answer = accounts.check(userIds.map(String));
        await auth.answers;
        if (auth.down) throw fail(ErrorReason.UNAVAILABLE, "auth is down");
        return create(CheckUsersResponseSchema, answer);
      },
    },
  });
  return { clock, accounts, auth, users };
}

const unavailable = (error: unknown) => reasonOf(error) === ErrorReason.UNAVAILABLE;

test("the states of users are cached until they are evicted", async () => {
  const { accounts, users } = setUp();
  accounts.change("2", "disabled");
  for (let n = 0; n < 3; n += 1) {
    const states = await users.states(["1", "2", "1"]);
    assert.deepEqual(
      [...states],
      [
        ["1", "active"],
        ["2", "disabled"],
      ],
    );
  }
  assert.deepEqual(accounts.asked, ["1", "2"]);
  accounts.change("1", "deleted");
  users.evict(["1"]);
  assert.equal((await users.states(["1", "2"])).get("1"), "missing");
  assert.deepEqual(accounts.asked, ["1", "2", "1"]);
  accounts.change("2", "active");
  users.clear();
  assert.equal((await users.states(["2"])).get("2"), "active");
});

test("an id without a user is not cached for a new conversation, but for an existing one", async () => {
  const { accounts, users } = setUp();
  for (let n = 0; n < 2; n += 1) {
    assert.equal((await users.states(["500"])).get("500"), "missing");
    assert.equal(users.peek("500"), undefined);
  }
  assert.deepEqual(accounts.asked, ["500", "500"]);
  await users.checkExisting(["500", "7"]);
  assert.deepEqual([users.peek("500"), users.peek("7")], ["missing", "active"]);
});

test("an answer that is older than an eviction is not cached", async () => {
  for (const evict of ["one", "all"] as const) {
    const { accounts, auth, users } = setUp();
    const { promise, resolve } = Promise.withResolvers<void>();
    auth.answers = promise;
    const checked = users.checkExisting(["1"]);
    // Race: the account is deleted, and the news arrives, while the earlier answer is in flight.
    accounts.change("1", "deleted");
    if (evict === "one") users.evict(["1"]);
    else users.clear();
    resolve();
    await checked;
    assert.equal(users.peek("1"), undefined);
    await users.checkExisting(["1"]);
    assert.equal(users.peek("1"), "missing");
  }
});

test("an eviction discards the answers in flight about its users only", async () => {
  const { accounts, auth, users } = setUp();
  const { promise, resolve } = Promise.withResolvers<void>();
  auth.answers = promise;
  const checked = users.checkExisting(["1", "2"]);
  accounts.change("1", "deleted");
  users.evict(["1"]);
  resolve();
  await checked;
  assert.deepEqual([users.peek("1"), users.peek("2")], [undefined, "active"]);
});

test("look-ups of the same user in flight are shared, except across an eviction", async () => {
  const { accounts, auth, users } = setUp();
  const { promise, resolve } = Promise.withResolvers<void>();
  auth.answers = promise;
  const checks = [users.checkExisting(["1", "2"]), users.checkExisting(["2", "3"])];
  const states = [users.states(["4"]), users.states(["5", "4"])];
  assert.deepEqual(accounts.asked, ["1", "2", "3", "4", "5"]);
  accounts.change("4", "disabled");
  users.evict(["4"]);
  const later = users.states(["4"]);
  assert.deepEqual(accounts.asked, ["1", "2", "3", "4", "5", "4"]);
  resolve();
  await Promise.all(checks);
  assert.deepEqual(
    ["1", "2", "3"].map((userId) => users.peek(userId)),
    Array(3).fill("active"),
  );
  assert.deepEqual(
    (await Promise.all(states)).map((found) => [...found.keys()]),
    [["4"], ["5", "4"]],
  );
  assert.equal((await later).get("4"), "disabled");
  assert.deepEqual([users.peek("4"), users.peek("5")], ["disabled", "active"]);
});

test("while auth is down, new conversations are refused and users of existing ones count as active", async () => {
  const { accounts, auth, clock, users } = setUp();
  accounts.change("1", "deleted");
  auth.down = true;
  await assert.rejects(users.states(["1"]), unavailable);
  await users.checkExisting(["1", "2"]);
  assert.deepEqual([users.peek("1"), users.peek("2")], ["active", "active"]);
  const calls = accounts.asked.length;
  await users.checkExisting(["1", "2", "3"]);
  await assert.rejects(users.states(["1"]), unavailable);
  assert.equal(accounts.asked.length, calls, "the back-off makes no call");

  auth.down = false;
  clock.advance(10_000);
  assert.equal(users.peek("1"), undefined);
  await users.checkExisting(["1", "2"]);
  assert.deepEqual([users.peek("1"), users.peek("2")], ["missing", "active"]);
});
