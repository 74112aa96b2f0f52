import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import {
  Gender,
  GetMyProfileResponseSchema,
  UserService,
  WhoMayAddMe,
} from "#gen/lucky/user/v1/user_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });

/** Registers people, each with a client of UserService. */
async function users(...names: string[]) {
  const registered = await people(world, ...names);
  return Promise.all(
    registered.map(async (person) => {
      const { accessToken } = await person.login();
      return {
        userId: person.userId,
        userName: person.userName,
        accessToken,
        api: clientOf(world.url, UserService, accessToken),
      };
    }),
  );
}
const refused = (reason: ErrorReason) => (error: unknown) => {
  assert.equal(ErrorReason[reasonOf(error)], ErrorReason[reason]);
  return true;
};
const birthday = { year: 1990, month: 2, day: 28 };

test("a new profile has only the user's names", { timeout: TIMEOUT }, async () => {
  const [ana] = await users("ana");
  const { profile } = await ana!.api.getMyProfile({});
  assert.equal(profile?.profile?.user?.userId, ana!.userId);
  assert.equal(profile?.profile?.user?.displayName, ana!.userName);
  assert.equal(profile?.profile?.birthday, undefined);
  assert.equal(profile?.profile?.location, "");
  assert.equal(profile?.profile?.whoMayAddMe, WhoMayAddMe.ANYONE);
  assert.deepEqual([profile?.phone, profile?.addAnswer, profile?.hasPassword], ["", "", true]);
  assert.deepEqual([profile?.searchableByName, profile?.searchableByPhone], [true, false]);
  assert.deepEqual([profile?.showBirthday, profile?.showLocation], [false, false]);
});

test("every field is stored; other users see the public fields, and the private ones only when shown", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await users("ana", "ben");
  const given = {
    displayName: " Ana Lima ",
    avatar: "blobs/ana-1.png",
    gender: Gender.FEMALE,
    birthday,
    location: "Porto",
    signature: "first things first",
    whoMayAddMe: WhoMayAddMe.WITH_QUESTION,
    addQuestion: "Where did we meet?",
    addAnswer: "in the library",
  };
  const { profile: mine } = await ana!.api.updateProfile(given);
  assert.deepEqual(mine, (await ana!.api.getMyProfile({})).profile);
  assert.equal(mine?.addAnswer, "in the library");
  assert.equal(mine?.profile?.location, "Porto");
  const { year, month, day } = mine!.profile!.birthday!;
  assert.deepEqual({ year, month, day }, birthday);

  const seen = async () => (await ben!.api.getProfile({ userId: ana!.userId })).profile!;
  const hidden = await seen();
  assert.equal(hidden.user?.displayName, "Ana Lima");
  assert.equal(hidden.user?.avatar, "blobs/ana-1.png");
  assert.equal(hidden.gender, Gender.FEMALE);
  assert.equal(hidden.signature, "first things first");
  assert.equal(hidden.whoMayAddMe, WhoMayAddMe.WITH_QUESTION);
  assert.equal(hidden.addQuestion, "Where did we meet?");
  assert.deepEqual([hidden.birthday, hidden.location], [undefined, ""]);

  await ana!.api.updateProfile({ showLocation: true });
  assert.deepEqual([(await seen()).birthday, (await seen()).location], [undefined, "Porto"]);
  await ana!.api.updateProfile({ showLocation: false, showBirthday: true });
  assert.deepEqual([(await seen()).birthday?.year, (await seen()).location], [1990, ""]);
});

test("an update keeps absent fields and clears empty ones", { timeout: TIMEOUT }, async () => {
  const [ana] = await users("ana");
  await ana!.api.updateProfile({ location: "Porto", birthday, signature: "hi", displayName: "A" });
  const kept = (await ana!.api.updateProfile({ gender: Gender.OTHER })).profile!;
  assert.equal(kept.profile?.location, "Porto");
  assert.equal(kept.profile?.birthday?.day, 28);
  const cleared = (
    await ana!.api.updateProfile({
      location: "",
      signature: " ",
      displayName: "",
      clearBirthday: true,
    })
  ).profile!;
  assert.equal(cleared.profile?.location, "");
  assert.equal(cleared.profile?.signature, "");
  assert.equal(cleared.profile?.birthday, undefined);
  assert.equal(cleared.profile?.gender, Gender.OTHER);
  assert.equal(cleared.profile?.user?.displayName, ana!.userName);
});

test("the question is shown only while it is required, and cannot be required when it is empty", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await users("ana", "ben");
  const ask = { whoMayAddMe: WhoMayAddMe.WITH_QUESTION };
  const invalid = refused(ErrorReason.INVALID_ARGUMENT);
  await assert.rejects(ana!.api.updateProfile(ask), invalid);
  await assert.rejects(ana!.api.updateProfile({ ...ask, addQuestion: "  " }), invalid);
  await ana!.api.updateProfile({ addQuestion: "Who?" });
  const seen = async () => (await ben!.api.getProfile({ userId: ana!.userId })).profile!;
  assert.equal((await seen()).addQuestion, "");
  await ana!.api.updateProfile(ask);
  assert.equal((await seen()).addQuestion, "Who?");
  await assert.rejects(ana!.api.updateProfile({ addQuestion: "" }), invalid);
  await ana!.api.updateProfile({ addQuestion: "", whoMayAddMe: WhoMayAddMe.NOBODY });
  assert.equal((await seen()).whoMayAddMe, WhoMayAddMe.NOBODY);
});

test("an invalid field is refused by its name and changes nothing", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await users("ana");
  const wrong: [string, Parameters<NonNullable<typeof ana>["api"]["updateProfile"]>[0]][] = [
    ["birthday", { birthday: { year: 2023, month: 2, day: 29 } }],
    ["birthday", { birthday: { year: 1990, month: 4, day: 31 } }],
    ["birthday.month", { birthday: { year: 1990, month: 13, day: 1 } }],
    ["birthday.year", { birthday: { year: 1899, month: 1, day: 1 } }],
    ["clear_birthday", { birthday, clearBirthday: true }],
    ["location", { location: "x".repeat(65) }],
    ["location", { location: "a\u0000b" }],
    ["signature", { signature: "x".repeat(129) }],
    ["display_name", { displayName: "ding\u0007" }],
    ["avatar", { avatar: "javascript:alert(1)" }],
    ["gender", { gender: 9 as Gender }],
    ["who_may_add_me", { whoMayAddMe: WhoMayAddMe.UNSPECIFIED }],
    ["add_question", { addQuestion: "x".repeat(129) }],
    ["add_answer", { addAnswer: "x".repeat(129) }],
  ];
  const before = (await ana!.api.getMyProfile({})).profile;
  for (const [field, request] of wrong) {
    await assert.rejects(ana!.api.updateProfile({ signature: "changed", ...request }), (error) => {
      assert.ok(String((error as Error).message).includes(field), `${field}: ${error}`);
      return refused(ErrorReason.INVALID_ARGUMENT)(error);
    });
  }
  assert.deepEqual((await ana!.api.getMyProfile({})).profile, before);
  const leap = await ana!.api.updateProfile({ birthday: { year: 2024, month: 2, day: 29 } });
  assert.equal(leap.profile?.profile?.birthday?.day, 29);
});

test("batchGetProfiles returns the existing profiles of up to 200 ids, in the order of the request", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await users("ana", "ben");
  const userIds = [ben!.userId, "1", ana!.userId, ben!.userId];
  const { profiles } = await ana!.api.batchGetProfiles({ userIds });
  assert.deepEqual(
    profiles.map(({ user }) => user?.userId),
    [ben!.userId, ana!.userId],
  );
  const many = Array.from({ length: 199 }, (_, at) => String(at + 1));
  const found = await ana!.api.batchGetProfiles({ userIds: [...many, ana!.userId] });
  assert.equal(found.profiles.length, 1);
  const invalid = refused(ErrorReason.INVALID_ARGUMENT);
  await assert.rejects(ana!.api.batchGetProfiles({ userIds: [...many, "200", "201"] }), invalid);
  await assert.rejects(ana!.api.batchGetProfiles({ userIds: [] }), invalid);
  const missing = refused(ErrorReason.USER_NOT_FOUND);
  await assert.rejects(ana!.api.getProfile({ userId: "1" }), missing);
});

test("concurrent updates of different fields are all kept", { timeout: TIMEOUT }, async () => {
  const [ana] = await users("ana");
  await Promise.all([
    ana!.api.updateProfile({ location: "Porto" }),
    ana!.api.updateProfile({ signature: "both" }),
    ana!.api.updateProfile({ birthday }),
  ]);
  const { profile } = (await ana!.api.getMyProfile({})).profile!;
  assert.deepEqual([profile?.location, profile?.signature], ["Porto", "both"]);
  assert.equal(profile?.birthday?.month, 2);
});

test("a token of a deleted account cannot read or change it", { timeout: TIMEOUT }, async () => {
  const [ana] = await users("ana");
  const id = [ana!.userId];
  await world.pool.query("UPDATE auth.account SET state = 'deleted' WHERE user_id = $1", id);
  const gone = refused(ErrorReason.TOKEN_REVOKED);
  await assert.rejects(ana!.api.updateProfile({ location: "Porto" }), gone);
  await assert.rejects(ana!.api.getMyProfile({}), gone);
  const sql = "SELECT location FROM auth.account WHERE user_id = $1";
  assert.equal((await world.pool.query(sql, id)).rows[0].location, null);
});

test("curl and the socket's Rpc return the same profile", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await users("ana");
  await ana!.api.updateProfile({ location: "Porto" });
  const answer = await fetch(`${world.url}/lucky.user.v1.UserService/GetMyProfile`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      authorization: `Bearer ${ana!.accessToken}`,
    },
    body: "{}",
  });
  const { profile } = (await answer.json()) as { profile: { profile: { location: string } } };
  assert.equal(profile.profile.location, "Porto");

  const device = await RawDevice.hello(world.url, ana!.accessToken);
  t.after(() => device.close());
  const method = "lucky.user.v1.UserService/GetMyProfile";
  device.send({ case: "rpc", value: { callId: "1", method } });
  const { outcome } = await device.next("rpcResult");
  assert.equal(outcome.case, "response");
  const bytes = outcome.case === "response" ? outcome.value : new Uint8Array();
  assert.equal(fromBinary(GetMyProfileResponseSchema, bytes).profile?.profile?.location, "Porto");
});
