import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { createMemoryLimiter } from "#platform/limiter/memory.ts";
import type { Budgets } from "./budgets.ts";
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

test("calls of a /48 network share a budget that is sixteen times larger", async (t) => {
  const limiter = createMemoryLimiter();
  t.after(() => limiter.close());
  const take = (address: string) =>
    takePoints(
      { limiter, budgets },
      { limit: LimitClass.CREDENTIAL, points: 1, address, userId: undefined },
    );
  for (let net = 1; net <= 16; net += 1) await take(`2001:db8:1:${net}::1`);
  await assert.rejects(
    take("2001:db8:1:99::1"),
    (error) => reasonOf(error) === ErrorReason.RATE_LIMITED,
  );
  await take("2001:db8:2:1::1");
});
