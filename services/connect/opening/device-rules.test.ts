import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { DeviceClass, DeviceExcess } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { GetDevicePolicyResponseSchema } from "#gen/lucky/internal/session/v1/session_pb.js";
import { fail } from "#platform/errors.ts";
import { quiet } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { startConnectHarness } from "../../../test/connect/connect-harness.ts";
import { RawDevice } from "../../../test/devices/raw-device.ts";
import { DeviceRules } from "./device-rules.ts";

const { MOBILE, WEB } = DeviceClass;
const REFUSE = DeviceExcess.REFUSE_NEW;

test("under a rule that refuses new devices, a new device gets the reason and the older ones stay", async (t) => {
  const rules = () => [{ deviceClass: WEB, maxDevices: 2, excess: REFUSE }];
  const harness = await startConnectHarness(t, { rules });
  const other = await startConnectHarness(t, { rules, with: harness, instanceId: "connect-1" });
  const first = await harness.device("1", "a", WEB);
  const second = await other.device("1", "b", WEB);
  const token = await harness.issuer.token({ sub: "1", did: "c", sid: "l1-c", dcl: WEB });
  const third = await RawDevice.open(harness.address);
  third.send({ case: "hello", value: { accessToken: token } });
  assert.equal((await third.next("kick")).code, CloseCode.DEVICE_LIMIT_REACHED);
  assert.equal((await third.closed).code, CloseCode.DEVICE_LIMIT_REACHED);
  await Promise.all([first.roundTrip(), second.roundTrip()]);
  // A device that is already online reconnects into its own slot.
  const again = await other.device("1", "a", WEB);
  assert.equal((await first.closed).code, CloseCode.REPLACED);
  await again.roundTrip();
});

test("a class without a rule may have no device online", async (t) => {
  const harness = await startConnectHarness(t, {
    rules: () => [{ deviceClass: WEB, maxDevices: 2, excess: REFUSE }],
  });
  const device = await RawDevice.open(harness.address);
  const accessToken = await harness.issuer.token({ sub: "1", did: "a", dcl: MOBILE });
  device.send({ case: "hello", value: { accessToken } });
  assert.equal((await device.closed).code, CloseCode.DEVICE_LIMIT_REACHED);
});

test("rules are polled; while auth is unavailable the cached rules stay in force", async () => {
  const clock = new ManualClock();
  let maxDevices = 1;
  let away = true;
  let asked = Promise.withResolvers<void>();
  const rules = new DeviceRules({
    clock,
    log: quiet,
    intervalMs: 5_000,
    policies: {
      async getDevicePolicy() {
        asked.resolve();
        if (away) throw fail(ErrorReason.UNAVAILABLE, "away");
        const rule = { deviceClass: WEB, maxDevices, excess: REFUSE };
        return create(GetDevicePolicyResponseSchema, { rules: [rule] });
      },
    },
  });
  const turn = async () => {
    while (clock.waiting === 0) await new Promise(setImmediate);
    asked = Promise.withResolvers<void>();
    clock.advance(5_000);
    await asked.promise;
    while (clock.waiting === 0) await new Promise(setImmediate);
  };
  const first = rules.of(WEB);
  await turn();
  assert.equal(rules.known, false);
  away = false;
  await turn();
  assert.deepEqual(await first, { limit: 1, excess: "refuse" });
  maxDevices = 3;
  await turn();
  assert.equal((await rules.of(WEB)).limit, 3);
  away = true;
  await turn();
  assert.equal((await rules.of(WEB)).limit, 3);
  assert.equal((await rules.of(MOBILE)).limit, 0);
  rules.close();
});
