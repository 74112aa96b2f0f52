import assert from "node:assert/strict";
import { after, beforeEach, test } from "node:test";
import { DeviceClass, DeviceExcess } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { defaultsOf } from "#platform/config/config.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { refused, startTestAuth } from "../auth.suite.ts";
import { authConfig } from "../config.ts";
import { openDatabase } from "../database.ts";
import { createDevicePolicy, parseDevicePolicy } from "./device-policy.ts";

const { url, pool } = await startTestPostgres({ after });
const database = openDatabase(pool);
beforeEach(() => pool.query("DELETE FROM auth.device_rule"));

const { MOBILE, WEB } = DeviceClass;
const { REPLACE_OLDEST, REFUSE_NEW } = DeviceExcess;
const config = { ...defaultsOf(authConfig), devicePolicy: "mobile:1:replace, web:3:refuse" };

test("a configured policy is parsed, and every fault is reported", () => {
  assert.deepEqual(parseDevicePolicy(config.devicePolicy), [
    { deviceClass: MOBILE, maxDevices: 1, excess: REPLACE_OLDEST },
    { deviceClass: WEB, maxDevices: 3, excess: REFUSE_NEW },
  ]);
  parseDevicePolicy(defaultsOf(authConfig).devicePolicy);
  for (const [text, fault] of [
    ["", /"" is not <class>/],
    ["mobile:1", /"mobile:1" is not <class>:<number>:<replace or refuse>/],
    ["mobil:1:replace", /"mobil:1:replace" names no class/],
    ["unspecified:1:replace", /names no class/],
    ["web:-1:replace", /has a number that is not 0 to 1000/],
    ["web:1001:replace", /has a number that is not 0 to 1000/],
    ["web:1:kick", /says neither replace nor refuse/],
    ["web:1:replace,web:2:replace", /"web:2:replace" names a class for the second time/],
    ["web:x:replace,bot", /"web:x:replace" has a number.*; "bot" is not/],
  ] as const)
    assert.throws(() => parseDevicePolicy(text), fault, text);
});

test("a policy set by an administrator overrides the configured one", async () => {
  const policy = createDevicePolicy({ config, database });
  assert.equal((await policy.rules()).length, 2);
  const rule = { deviceClass: WEB, maxDevices: 7, excess: REFUSE_NEW };
  await database.$transaction((tx) => policy.set(tx, [rule]));
  assert.deepEqual(await policy.rules(), [rule]);
  await refused(
    database.$transaction((tx) => policy.set(tx, [rule, rule])),
    ErrorReason.INVALID_ARGUMENT,
  );
  assert.deepEqual(await policy.rules(), [rule]);
});

test("concurrent changes of the policy are serialised", async () => {
  const policy = createDevicePolicy({ config, database });
  const rules = (maxDevices: number) =>
    [MOBILE, WEB].map((deviceClass) => ({ deviceClass, maxDevices, excess: REPLACE_OLDEST }));
  await Promise.all(
    [1, 2, 3, 4].map((max) => database.$transaction((tx) => policy.set(tx, rules(max)))),
  );
  const [first, second] = await policy.rules();
  assert.equal(first!.maxDevices, second!.maxDevices);
});

test("a device cannot log in when its class may have no device online", async (t) => {
  const one = await startTestAuth({ url, t, config: { devicePolicy: "web:1:replace" } });
  const { userName } = await one.register();
  await refused(one.login(userName), ErrorReason.DEVICE_LIMIT_REACHED);
});
