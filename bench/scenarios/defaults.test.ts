import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Bench } from "../runs/bench.ts";
import { Generators } from "../runs/generators.ts";
import { storeConversations } from "../system/conversations.ts";
import { type System, startSystem } from "../system/system.ts";
import { withTables } from "../system/tables.ts";
import { makeUsers, type User } from "../system/users.ts";
import { scenarios } from "./catalogue.ts";

/** Users for the scenario that needs the most. They are created once; every scenario uses the first ones. */
const MOST_USERS = 15_000;

/** Ends a scenario when its load begins. */
class LoadBegan extends Error {}

/** Accepted errors of scenarios that cannot start with their defaults on every machine. */
const refusals: Readonly<Record<string, RegExp>> = {
  ratio: /--against <git ref> is missing/,
  // The error where the packages of the other servers are not installed.
  compare: /socket\.io and @socket\.io\/redis-adapter, which are not installed/,
};

let system: System;
let users: User[];

before(async () => {
  system = await startSystem({ mode: "embedded", connects: 1, servers: 1 });
  ({ users } = await makeUsers(system, MOST_USERS));
});
after(() => system?.stop());

/** One system in one process, whatever mode the scenario requests: a mesh would need other servers. */
const bench: Bench = {
  withSystem: (_shape, work) => work(system),
  async makeUsers(_system, count) {
    assert.ok(count <= MOST_USERS, `${count} users`);
    return { users: users.slice(0, count), origin: "minted" };
  },
  loadBegins() {
    throw new LoadBegan("the load began");
  },
};

for (const [name, load] of Object.entries(scenarios)) {
  test(`"${name}" starts with its defaults until its load begins, or names the missing package`, async () => {
    const { default: scenario } = await load();
    await assert.rejects(scenario.run([], bench), (error: Error) => {
      if (error instanceof LoadBegan) return true;
      assert.match(error.message, refusals[name] ?? /^$/);
      return true;
    });
  });
}

test("devices list stored conversations by Sync, and acknowledge without messages", async () => {
  // No other scenario gives these users conversations.
  const [ana, ben] = users.slice(-2);
  const conversations = (["direct", "group"] as const).map((kind) => ({
    kind,
    userIds: [ana!.userId, ben!.userId],
    lastSequence: 9,
  }));
  const [direct = "", group = ""] = await withTables(system.postgresUrl, (tables) =>
    storeConversations(tables, conversations),
  );
  const setup = { dialect: "lucky", text: "", shared: false, acknowledgeMs: 0 } as const;
  const generators = await Generators.start(1, setup);
  try {
    const url = system.connectUrls[0]!;
    await generators.open(
      [ana, ben].map((user, index) => ({ index, url, token: user!.accessToken })),
    );
    assert.equal(await generators.syncPages({ resume: false, atOnce: 2 }), 4);
    assert.equal(await generators.syncPages({ resume: true, atOnce: 2 }), 0);
    const load = { firstSequence: 3, rounds: 2, everyMs: 20 };
    const acknowledged = [
      await generators.acknowledge({ ...load, conversationIds: { 0: direct } }),
      await generators.acknowledge({ ...load, conversationIds: { 0: group, 1: direct } }),
    ];
    assert.deepEqual(acknowledged, [2, 4]);
  } finally {
    generators.close();
  }
});
