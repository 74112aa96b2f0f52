import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Role } from "#gen/lucky/group/v1/group_pb.js";
import { failsWith } from "#platform/errors.fixture.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { Stand, say, UNKNOWN_USER_ID } from "../server.fixture.ts";
import { countGroups } from "./group-rows.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

test("a duplicate CreateGroup returns the same group, also in a race of several calls", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  const make = (server: typeof one) =>
    server.groups("101").createGroup({ name: "g", userIds: ["102"], clientGroupId: "k" });
  const made = await Promise.all([make(one), make(two), make(one), make(two)]);
  const ids = new Set(made.map(({ group }) => group!.groupId));
  assert.equal(ids.size, 1);
  assert.deepEqual((await make(two)).group, made[0]!.group);
  assert.equal(made[0]!.group!.memberCount, 2);
  assert.equal(made[0]!.group!.ownerId, "101");
  const other = await one.groups("102").createGroup({ name: "g", clientGroupId: "k" });
  assert.ok(!ids.has(other.group!.groupId), "a key belongs to its creator");
});

test("a known client_group_id with another name or other users is refused, also in a race", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  const make = (server: typeof one, name: string, ...userIds: string[]) =>
    server.groups("106").createGroup({ name, userIds, clientGroupId: "k" });
  const reused = failsWith("KEY_REUSED");
  const { group } = await make(one, "g", "107", "108");
  await assert.rejects(make(two, "h", "107", "108"), reused);
  await assert.rejects(make(two, "g", "107"), reused);
  await assert.rejects(make(two, "g", "107", "108", "109"), reused);
  // The order of the users, duplicates and the caller make no other request.
  assert.deepEqual((await make(two, "g", "108", "106", "107", "108")).group, group);
  await one.groups("106").addMembers({ groupId: group!.groupId, userIds: ["109"] });
  assert.equal((await make(two, "g", "107", "108")).group!.memberCount, 4, "the group has changed");
  await assert.rejects(make(two, "g", "107", "108", "109"), reused);

  const race = (server: typeof one, name: string) =>
    server.groups("110").createGroup({ name, clientGroupId: "k" });
  const raced = await Promise.allSettled([
    race(one, "a"),
    race(two, "b"),
    race(one, "a"),
    race(two, "b"),
  ]);
  const made = raced.flatMap((one) => (one.status === "fulfilled" ? [one.value.group!] : []));
  assert.deepEqual([made.length, made[0]!.groupId], [2, made[1]!.groupId]);
  for (const one of raced) if (one.status === "rejected") reused(one.reason);

  // A group of an earlier version has no hash: its creator may retry with anything.
  await pool.query("UPDATE im.group_key SET request_hash = NULL WHERE creator_id = 106");
  assert.equal((await make(two, "h")).group!.groupId, group!.groupId);
});

test("a group's name must show and must not contain control characters", async (t) => {
  const one = await new Stand(t, pool).server();
  for (const name of ["a\0b", " ", "\u2800", "\u3164", "\u200d\ufe0f", "\u0301"]) {
    const error = await one
      .groups("105")
      .createGroup({ name })
      .catch((thrown) => thrown);
    failsWith("INVALID_ARGUMENT")(error);
    assert.match(String(error), / name: must/);
  }
});

test("a repeated removal or leaving succeeds and writes no tip", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  const userIds = ["182", "183", "184", "185"];
  const { group } = await one.groups("181").createGroup({ name: "g", userIds });
  const groupId = group!.groupId;
  const remove = (caller: string, userId: string, server = one) =>
    server.groups(caller).removeMember({ groupId, userId });
  const last = async () => {
    const position = { case: "afterSequence", value: 0n } as const;
    const log = await one.messages("181").listEntries({ conversationId: groupId, position });
    return log.lastSequence;
  };

  const raced = await Promise.all([remove("181", "182"), remove("181", "182", two)]);
  assert.deepEqual(raced[0], raced[1]);
  assert.equal(raced[0].group!.memberCount, 4);
  const left = await remove("183", "183");
  assert.equal(left.group!.memberCount, 3);
  assert.equal(await last(), 3n, "the group's creation and two tips");
  await remove("181", "183");
  await remove("181", "184");
  assert.deepEqual(await remove("183", "183"), left, "as of the leaving, not as of now");
  assert.deepEqual(await remove("182", "182"), raced[0]);
  assert.equal(await last(), 4n);

  const denied = failsWith("PERMISSION_DENIED");
  await assert.rejects(remove("185", "184"), denied, "a member may not repeat it for an admin");
  const notFound = failsWith("CONVERSATION_NOT_FOUND");
  await assert.rejects(remove("189", "189"), notFound);
  await assert.rejects(remove("183", "185"), notFound, "a former member removes nobody");
  await assert.rejects(remove("181", "189"), failsWith("NOT_A_MEMBER"));
});

test("an addition may be repeated after the account of a member was deleted", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { group } = await one.groups("191").createGroup({ name: "g", userIds: ["192"] });
  const add = () =>
    one.groups("191").addMembers({ groupId: group!.groupId, userIds: ["192", "193"] });
  const added = await add();
  stand.accounts.change("193", "deleted");
  const two = await stand.server();
  const repeated = two
    .groups("191")
    .addMembers({ groupId: group!.groupId, userIds: ["192", "193"] });
  assert.deepEqual(await repeated, added);
});

test("members are listed in pages by ascending user id, with their roles", async (t) => {
  const one = await new Stand(t, pool).server();
  const userIds = Array.from({ length: 25 }, (_, i) => `${990 + i}`);
  const { group } = await one.groups("111").createGroup({ name: "g", userIds });
  const groupId = group!.groupId;
  const ids: string[] = [];
  let pageToken = "";
  do {
    const page = await one.groups("1001").listMembers({ groupId, pageToken, pageSize: 13 });
    pageToken = page.nextPageToken;
    ids.push(...page.members.map(({ userId }) => userId));
    for (const { userId, role } of page.members) {
      assert.equal(role, userId === "111" ? Role.OWNER : Role.MEMBER);
    }
  } while (pageToken !== "");
  assert.deepEqual(ids, ["111", ...userIds]);
});

test("non-members cannot find a group", async (t) => {
  const one = await new Stand(t, pool).server();
  const { group } = await one.groups("121").createGroup({ name: "g", userIds: ["122"] });
  const groupId = group!.groupId;
  const stranger = one.groups("129");
  const notFound = failsWith("CONVERSATION_NOT_FOUND");
  await assert.rejects(stranger.getGroup({ groupId }), notFound);
  await assert.rejects(stranger.listMembers({ groupId }), notFound);
  await assert.rejects(stranger.addMembers({ groupId, userIds: ["129"] }), notFound);
  await assert.rejects(stranger.removeMember({ groupId, userId: "129" }), notFound);
  await assert.rejects(stranger.getGroup({ groupId: "5" }), notFound);
});

test("the owner and admins manage members, and members may leave", async (t) => {
  const one = await new Stand(t, pool).server();
  const { group } = await one
    .groups("131")
    .createGroup({ name: "g", userIds: ["132", "133", "134", "135"] });
  const groupId = group!.groupId;
  await pool.query("UPDATE im.member SET role = 2 WHERE user_id = ANY ('{132,135}')");
  const denied = failsWith("PERMISSION_DENIED");
  const remove = (caller: string, userId: string) =>
    one.groups(caller).removeMember({ groupId, userId });
  await assert.rejects(one.groups("133").addMembers({ groupId, userIds: ["136"] }), denied);
  await assert.rejects(remove("133", "134"), denied);
  await assert.rejects(remove("132", "135"), denied, "admins do not remove each other");
  await assert.rejects(remove("132", "131"), denied);
  await assert.rejects(remove("131", "131"), denied, "the owner stays");
  await assert.rejects(remove("131", "139"), failsWith("NOT_A_MEMBER"));
  assert.equal((await remove("132", "134")).group!.memberCount, 4);
  assert.equal((await remove("133", "133")).group!.memberCount, 3);
  assert.equal((await remove("131", "135")).group!.memberCount, 2);
  const added = await one.groups("132").addMembers({ groupId, userIds: ["133", "136", "132"] });
  assert.equal(added.group!.memberCount, 4);
  const unchanged = await one.groups("132").addMembers({ groupId, userIds: ["133"] });
  assert.deepEqual(unchanged.group, added.group, "adding an existing member changes nothing");
  const page = await one.messages("131").listEntries({
    conversationId: groupId,
    position: { case: "afterSequence", value: 0n },
  });
  const tips = page.entries.map(({ content, senderId }) => {
    const kind = content?.kind;
    return kind?.case === "tip" && [senderId, kind.value.kind.case];
  });
  assert.deepEqual(tips, [
    ["131", "groupCreated"],
    ["132", "memberRemoved"],
    ["133", "memberRemoved"],
    ["131", "memberRemoved"],
    ["132", "membersAdded"],
  ]);
});

test("unknown users cannot be added, and a group has at most maxGroupMembers members", async (t) => {
  const one = await new Stand(t, pool).server({ maxGroupMembers: 3 });
  const create = (userIds: string[]) => one.groups("141").createGroup({ name: "g", userIds });
  await assert.rejects(create(["142", UNKNOWN_USER_ID]), failsWith("USER_NOT_FOUND"));
  await assert.rejects(create(["142", "143", "144"]), failsWith("GROUP_FULL"));
  const { group } = await create(["142", "141"]);
  const add = (userIds: string[]) =>
    one.groups("141").addMembers({ groupId: group!.groupId, userIds });
  await assert.rejects(add([UNKNOWN_USER_ID]), failsWith("USER_NOT_FOUND"));
  await assert.rejects(add(["143", "144"]), failsWith("GROUP_FULL"));
  assert.equal((await add(["142", "143"])).group!.memberCount, 3);
});

test("a user is in at most maxGroupsPerUser groups; former memberships and direct conversations do not count", async (t) => {
  const one = await new Stand(t, pool).server({ maxGroupsPerUser: 2 });
  const full = failsWith("GROUP_FULL");
  const make = async (owner: string, ...userIds: string[]) => {
    const { group } = await one.groups(owner).createGroup({ name: "g", userIds });
    return group!.groupId;
  };
  const first = await make("171", "172");
  const second = await make("173", "174");
  const add = (...userIds: string[]) => one.groups("173").addMembers({ groupId: second, userIds });
  await one.append(say("172", "175", "direct"));
  await add("172");
  const third = await make("175", "176");
  const addToThird = (...userIds: string[]) =>
    one.groups("175").addMembers({ groupId: third, userIds });
  await assert.rejects(addToThird("177", "172"), (error: unknown) => {
    assert.match(String(error), /user 172 is in 2 groups already/);
    return full(error);
  });
  await assert.rejects(make("178", "172"), full, "a new group counts");
  const { group: unchanged } = await one.groups("175").getGroup({ groupId: third });
  assert.equal(unchanged!.memberCount, 2, "a refused call adds nobody");
  assert.equal((await add("172", "174")).group!.memberCount, 3, "current members may be repeated");
  await one.groups("172").removeMember({ groupId: first, userId: "172" });
  assert.equal((await addToThird("177", "172")).group!.memberCount, 4);
  await assert.rejects(make("172"), full, "the owner counts");
});

test("the count of a user's groups reads the index of current groups, at most up to the maximum", async (t) => {
  const one = await new Stand(t, pool).server({ maxGroupsPerUser: 3 });
  for (let n = 0; n < 3; n++) await one.groups("179").createGroup({ name: "g" });
  const client = await pool.connect();
  t.after(() => client.release());
  const { rows } = await client.query<{ "QUERY PLAN": string }>(
    `EXPLAIN (ANALYZE, COSTS off, TIMING off) ${countGroups.text}`,
    [["179", "180"], 2],
  );
  const plan = rows.map((row) => row["QUERY PLAN"]).join("\n");
  assert.match(plan, /Index Only Scan using member_group/);
  assert.doesNotMatch(plan, /Seq Scan|member_user/);
});

test("concurrent changes of one group keep its member count and log consistent", async (t) => {
  const stand = new Stand(t, pool);
  const servers = [await stand.server(), await stand.server()];
  const { group } = await servers[0]!.groups("151").createGroup({ name: "g" });
  const groupId = group!.groupId;
  await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      servers[i % 2]!.groups("151").addMembers({ groupId, userIds: [`${1_500 + (i % 15)}`] }),
    ),
  );
  const { rows } = await pool.query(
    `SELECT c.member_count, c.last_sequence::int AS last, c.member_version::int AS version,
            (SELECT count(*)::int FROM im.member m WHERE m.conversation_id = c.conversation_id) AS members,
            (SELECT count(*)::int FROM im.entry e WHERE e.conversation_id = c.conversation_id) AS entries
       FROM im.conversation c WHERE conversation_id = $1`,
    [groupId],
  );
  assert.deepEqual(rows[0], { member_count: 16, last: 16, version: 16, members: 16, entries: 16 });
});
