import assert from "node:assert/strict";
import { randomBytes, randomInt } from "node:crypto";
import { after, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import {
  SearchUsersRequestSchema,
  SearchUsersResponseSchema,
  UserService,
} from "#gen/lucky/user/v1/user_pb.js";
import { detailOf, reasonOf } from "#platform/errors.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const PER_MINUTE = 40;
const world = await startWorld(
  { after },
  { settings: { LUCKY_LIMITS_SEARCH_PER_MINUTE: String(PER_MINUTE) } },
);

const refused = (reason: ErrorReason) => (error: unknown) => {
  assert.equal(ErrorReason[reasonOf(error)], ErrorReason[reason]);
  return true;
};

/** Registers a user who searches, with a budget of their own. */
async function searcher() {
  const [eve] = await people(world, "seeker");
  const { accessToken } = await eve!.login();
  const api = clientOf(world.url, UserService, accessToken);
  return {
    accessToken,
    api,
    async names(prefix: string) {
      const query = { case: "userNamePrefix", value: prefix } as const;
      const { users } = await api.searchUsers({ query });
      return users.map(({ userName }) => userName);
    },
  };
}

/** A random prefix that no other test's names begin with. */
const randomPrefix = () => `q${[...randomBytes(8)].map((b) => "abcdefghij"[b % 10]).join("")}`;

async function named(...names: string[]) {
  const found = await people(world, ...names);
  return found.sort((a, b) => (a.userName < b.userName ? -1 : 1));
}

test("users are found by a prefix of the name, in any spelling", {
  timeout: TIMEOUT,
}, async () => {
  const stem = randomPrefix();
  const [one, two] = await named(`${stem}one`, `${stem}two`);
  const eve = await searcher();
  const both = [one!.userName, two!.userName];
  assert.deepEqual(await eve.names(stem), both);
  assert.deepEqual(await eve.names(stem.toUpperCase()), both);
  assert.deepEqual(await eve.names(stem.replace("q", "ｑ")), both);
  assert.deepEqual(await eve.names(`${stem}t`), [two!.userName]);
  assert.deepEqual(await eve.names(two!.userName), [two!.userName]);
  assert.deepEqual(await eve.names(stem.slice(1)), []);
});

test("a search treats SQL wildcards and escapes as plain characters", {
  timeout: TIMEOUT,
}, async () => {
  const stem = randomPrefix();
  await named(`${stem}ab`, `${stem}_b`);
  const eve = await searcher();
  assert.equal((await eve.names(`${stem}_`)).length, 1);
  for (const odd of ["%%", "__", `${stem}%`, "\\\\", "' OR 1=1 --", `${stem}\\`]) {
    assert.deepEqual(await eve.names(odd), [], odd);
  }
  await assert.rejects(eve.names("a\u0000"), refused(ErrorReason.INVALID_ARGUMENT));
  await assert.rejects(eve.names("a"), refused(ErrorReason.INVALID_ARGUMENT));
  // Two code points that are one character.
  await assert.rejects(eve.names("e\u0301"), refused(ErrorReason.INVALID_ARGUMENT));
});

test("pages continue after the last one and return each user once", {
  timeout: TIMEOUT,
}, async () => {
  const stem = randomPrefix();
  const all = await named(...Array.from({ length: 7 }, (_, at) => `${stem}${at}`));
  const { api } = await searcher();
  const query = { case: "userNamePrefix", value: stem } as const;
  const found: string[] = [];
  const sizes: number[] = [];
  let pageToken = "";
  do {
    const page = await api.searchUsers({ query, pageSize: 3, pageToken });
    found.push(...page.users.map(({ userName }) => userName));
    sizes.push(page.users.length);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  assert.deepEqual(sizes, [3, 3, 1]);
  assert.deepEqual(
    found,
    all.map(({ userName }) => userName),
  );
  const full = await api.searchUsers({ query, pageSize: 7 });
  assert.equal(full.nextPageToken, "");
  const first = await api.searchUsers({ query, pageSize: 3 });
  const elsewhere = { case: "userNamePrefix", value: "zz" } as const;
  const invalid = refused(ErrorReason.INVALID_ARGUMENT);
  for (const request of [
    { query: elsewhere, pageToken: first.nextPageToken },
    { query, pageToken: "nonsense" },
    { query, pageToken: Buffer.from("9".repeat(40)).toString("base64url") },
    { query, pageSize: 51 },
    { query, pageSize: -1 },
    {},
  ]) {
    await assert.rejects(api.searchUsers(request), invalid);
  }
});

test("unsearchable, disabled and deleted users are not found by name", {
  timeout: TIMEOUT,
}, async () => {
  const stem = randomPrefix();
  const [unsearchable, disabled, deleted] = await named(`${stem}a`, `${stem}b`, `${stem}c`);
  const eve = await searcher();
  assert.equal((await eve.names(stem)).length, 3);
  const { accessToken } = await unsearchable!.login();
  await clientOf(world.url, UserService, accessToken).updateProfile({ searchableByName: false });
  assert.deepEqual(await eve.names(stem), [disabled!.userName, deleted!.userName]);
  const state = "UPDATE auth.account SET state = $2 WHERE user_id = $1";
  await world.pool.query(state, [disabled!.userId, "disabled"]);
  await world.pool.query(state, [deleted!.userId, "deleted"]);
  assert.deepEqual(await eve.names(stem), []);
});

test("an unknown number returns an empty result, and an invalid one is refused", {
  timeout: TIMEOUT,
}, async () => {
  const { api } = await searcher();
  const phone = `+491511${randomInt(1_000_000, 9_999_999)}`;
  const answer = await api.searchUsers({ query: { case: "phone", value: phone } });
  assert.deepEqual([answer.users, answer.nextPageToken], [[], ""]);
  const invalid = api.searchUsers({ query: { case: "phone", value: "+4912" } });
  await assert.rejects(invalid, refused(ErrorReason.INVALID_ARGUMENT));
  const fixed = api.searchUsers({ query: { case: "phone", value: "+49301234567" } });
  await assert.rejects(fixed, refused(ErrorReason.PHONE_INVALID));
});

test("searches over RPC and over the socket share one small budget", {
  timeout: TIMEOUT,
}, async (t) => {
  const eve = await searcher();
  const device = await RawDevice.hello(world.url, eve.accessToken);
  t.after(() => device.close());
  const query = { case: "userNamePrefix", value: "zzzz" } as const;
  const request = create(SearchUsersRequestSchema, { query });
  let answered = 0;
  let limited = 0;
  // The minute of the budget may end in between, at most once.
  for (let at = 0; at < PER_MINUTE + 1; at++) {
    await eve.api.searchUsers(request).then(
      () => answered++,
      (error) => {
        refused(ErrorReason.RATE_LIMITED)(error);
        assert.ok(Number(detailOf(error)?.retryAfterMs) > 0);
        limited++;
      },
    );
    const method = "lucky.user.v1.UserService/SearchUsers";
    const body = toBinary(SearchUsersRequestSchema, request);
    device.send({ case: "rpc", value: { callId: String(at + 1), method, request: body } });
    const { outcome } = await device.next("rpcResult");
    if (outcome.case === "response") {
      fromBinary(SearchUsersResponseSchema, outcome.value);
      answered++;
    } else {
      assert.equal(outcome.value?.error?.reason, ErrorReason.RATE_LIMITED);
      limited++;
    }
  }
  assert.equal(answered + limited, 2 * (PER_MINUTE + 1));
  assert.ok(limited > 0);
  assert.ok(answered <= 2 * PER_MINUTE);
});
