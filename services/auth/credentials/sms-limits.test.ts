import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { defaultsOf } from "#platform/config/config.ts";
import { reasonOf } from "#platform/errors.ts";
import { createMemoryLimiter } from "#platform/limiter/memory.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { authConfig } from "../config.ts";
import { createSmsLimits } from "./sms-limits.ts";

test("the limits of codes follow their settings", async (t) => {
  const limiter = createMemoryLimiter({ clock: new ManualClock() });
  t.after(() => limiter.close());
  const config = defaultsOf(authConfig);
  const limits = createSmsLimits({ config, limiter });
  const reason = (call: () => Promise<void>) =>
    call().then(
      () => "ok",
      (error: unknown) => ErrorReason[reasonOf(error)],
    );
  const twice = async (call: () => Promise<void>) => [await reason(call), await reason(call)];
  const address = () => limits.limitAddress("203.0.113.1");
  const day = () => limits.limitDay("account");
  const stranger = () => limits.limitDay("any number");
  const country = async () => limits.requireCountry("+4915112345678");
  for (const call of [address, day, stranger, country])
    assert.deepEqual(await twice(call), ["ok", "ok"]);
  // The windows go on: two codes of the address, and four of the day, count against the new limits.
  Object.assign(config, { smsPerAddressPerHour: 3, smsCountries: ["+33"] });
  assert.deepEqual(await twice(address), ["ok", "RATE_LIMITED"]);
  assert.deepEqual(await twice(country), ["PHONE_INVALID", "PHONE_INVALID"]);
  Object.assign(config, { smsNewNumbersPercent: 0 });
  assert.deepEqual(await twice(stranger), ["RATE_LIMITED", "RATE_LIMITED"]);
  Object.assign(config, { smsPerDay: 5, smsNewNumbersPercent: 100 });
  assert.deepEqual(await twice(day), ["ok", "RATE_LIMITED"]);
});
