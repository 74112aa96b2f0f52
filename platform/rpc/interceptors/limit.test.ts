import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type DescField, getOption } from "@bufbuild/protobuf";
import { field as fieldRules } from "#gen/buf/validate/validate_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import {
  AddMembersRequestSchema,
  CreateGroupRequestSchema,
  RemoveMemberRequestSchema,
} from "#gen/lucky/group/v1/group_pb.js";
import { LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { createMemoryLimiter } from "#platform/limiter/memory.ts";
import { type Budgets, pointsOf } from "./budgets.ts";
import { takePoints } from "./limit.ts";

const one = (name: string) => ({ name, points: 1, windowMs: 60_000 });
const budgets: Budgets = {
  [LimitClass.READ]: one("read"),
  [LimitClass.CREDENTIAL]: one("credential"),
};

test("calls without a login are counted by network, and so are calls with credentials", async (t) => {
  const limiter = createMemoryLimiter();
  t.after(() => limiter.close());
  const take = (limit: LimitClass, address: string, userId?: string) =>
    takePoints({ limiter, budgets }, { limit, points: 1, address, userId });
  const refused = (call: Promise<void>) =>
    assert.rejects(call, (error) => reasonOf(error) === ErrorReason.RATE_LIMITED);

  await take(LimitClass.CREDENTIAL, "2001:db8:1:2::1", "1");
  await refused(take(LimitClass.CREDENTIAL, "2001:db8:1:2:ffff::9", "2"));
  await take(LimitClass.CREDENTIAL, "2001:db8:1:3::1", "1");
  await take(LimitClass.CREDENTIAL, "203.0.113.1");
  await take(LimitClass.CREDENTIAL, "203.0.113.2");
  await refused(take(LimitClass.CREDENTIAL, "::ffff:203.0.113.2"));

  await take(LimitClass.READ, "203.0.113.1");
  await refused(take(LimitClass.READ, "203.0.113.1"));
  // Calls with a login are counted by user, whatever the address.
  await take(LimitClass.READ, "203.0.113.1", "1");
  await refused(take(LimitClass.READ, "203.0.113.2", "1"));
});

test("a call costs one point per user that it adds to a group, at most as the contract admits", () => {
  const ids = (count: number) => Array.from({ length: count }, (_, at) => String(at + 1));
  for (const schema of [AddMembersRequestSchema, CreateGroupRequestSchema]) {
    const points = (count: number) => pointsOf(create(schema, { userIds: ids(count) }));
    const max = maxItems(schema.field.userIds);
    assert.deepEqual([0, 1, 20, max, max + 1].map(points), [1, 1, 20, max, max]);
  }
  assert.equal(pointsOf(create(RemoveMemberRequestSchema, { userId: "7" })), 1);
});

function maxItems(field: DescField): number {
  const { type } = getOption(field, fieldRules);
  assert.equal(type.case, "repeated");
  return Number((type.value as { maxItems: bigint }).maxItems);
}
