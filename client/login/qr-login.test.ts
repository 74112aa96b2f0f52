import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ServiceImpl } from "@connectrpc/connect";
import { AuthService, DeviceClass, QrLoginState } from "../../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { fail } from "../../platform/errors.ts";
import { createLog } from "../../platform/log.ts";
import { serve } from "../../platform/rpc/served.ts";
import { listen } from "../../platform/rpc/serving/listen.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { LuckyError } from "../error.ts";
import { beginQrLogin } from "./qr-login.ts";

const log = createLog({ service: "test", instanceId: "test-0", level: "silent" });
const device = { deviceId: "tab", deviceClass: DeviceClass.WEB };
const { WAITING, SCANNED, CONFIRMED, EXPIRED } = QrLoginState;

type Auth = Partial<ServiceImpl<typeof AuthService>>;

/** A QR login at a server whose AuthService the test implements. */
async function begun(t: TestContext, auth: Auth, clock = new ManualClock()) {
  const made = {
    qrLoginId: "i".repeat(22),
    secret: "s".repeat(43),
    text: "lucky://",
    svg: "<svg/>",
  };
  const whole = { createQrLogin: () => ({ ...made, expiresAtMs: 7n }), ...auth };
  const served = [serve(AuthService, whole as ServiceImpl<typeof AuthService>)];
  const server = await listen({ host: "127.0.0.1", port: 0, served, interceptors: [], log });
  t.after(() => server.close());
  return beginQrLogin({ url: `http://127.0.0.1:${server.port}`, device, clock });
}

test("a watching device gets each state once, and stops at the last", async (t) => {
  const shown = await begun(t, {
    async *watchQrLogin({ deviceId }) {
      assert.equal(deviceId, "tab");
      for (const state of [WAITING, WAITING, SCANNED, CONFIRMED, EXPIRED]) {
        yield { qrLogin: { state } };
      }
    },
  });
  assert.equal(shown.text, "lucky://");
  assert.equal(shown.expiresAtMs, 7);
  const states = [];
  for await (const { state } of shown.states()) states.push(state);
  assert.deepEqual(states, [WAITING, SCANNED, CONFIRMED]);
});

test("a device whose stream is refused or breaks polls each second, despite retryable errors", async (t) => {
  const clock = new ManualClock();
  const answers = [WAITING, undefined, SCANNED, SCANNED, CONFIRMED];
  const shown = await begun(
    t,
    {
      async *watchQrLogin() {
        yield { qrLogin: { state: WAITING } };
        throw fail(ErrorReason.OVERLOADED, "too many watch");
      },
      async getQrLogin() {
        const state = answers.shift();
        if (state === undefined) throw fail(ErrorReason.UNAVAILABLE, "away");
        return { qrLogin: { state } };
      },
    },
    clock,
  );
  const states: QrLoginState[] = [];
  let over = false;
  const all = (async () => {
    for await (const { state } of shown.states()) states.push(state);
  })().finally(() => {
    over = true;
  });
  while (!over) {
    clock.advance(1_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await all;
  assert.deepEqual(states, [WAITING, SCANNED, CONFIRMED]);
  assert.deepEqual(answers, []);
});

test("a permanent error is thrown, and an aborted signal ends the states without an error", async (t) => {
  const gone = await begun(t, {
    watchQrLogin() {
      throw fail(ErrorReason.QR_LOGIN_STEP, "handed out");
    },
  });
  await assert.rejects(gone.states().next(), (error) => {
    assert.ok(error instanceof LuckyError);
    assert.equal(error.reason, ErrorReason.QR_LOGIN_STEP);
    return true;
  });

  const patient = await begun(t, {
    async *watchQrLogin(_request, { signal }) {
      yield { qrLogin: { state: WAITING } };
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    },
  });
  const controller = new AbortController();
  const states = patient.states(controller.signal);
  assert.equal((await states.next()).value?.state, WAITING);
  controller.abort();
  assert.equal((await states.next()).done, true);
});
