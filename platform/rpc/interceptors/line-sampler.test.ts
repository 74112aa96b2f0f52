import assert from "node:assert/strict";
import { test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { keptLog } from "#platform/log.fixture.ts";
import { Metrics } from "#platform/metrics.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { ruleBook } from "#platform/rpc/rules.ts";
import { serve } from "#platform/rpc/served.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { createLineSampler } from "./line-sampler.ts";
import { observeInterceptor } from "./observe.ts";

test("of many refused calls ten a second are logged, then one line with the number suppressed", async () => {
  const clock = new ManualClock();
  const metrics = new Metrics();
  const { lines, log } = keptLog();
  let reason = ErrorReason.CREDENTIALS_INVALID;
  const refuse = () => {
    throw fail(reason, "refused");
  };
  const auth = createClient(
    AuthService,
    localTransport(
      [serve(AuthService, { login: refuse, getJwks: refuse } as never)],
      [observeInterceptor({ log, metrics, clock, rules: ruleBook() })],
    ),
  );
  const logged = (event: string) => lines.filter((line) => line.event === event).length;
  for (let n = 0; n < 500; n++) await assert.rejects(auth.login({}));
  assert.equal(logged("rpc"), 10);
  // Another method and another reason are counted on their own.
  await assert.rejects(auth.getJwks({}));
  reason = ErrorReason.RATE_LIMITED;
  await assert.rejects(auth.login({}));
  assert.equal(logged("rpc"), 12);
  assert.equal(logged("rpc_lines_suppressed"), 0);
  clock.advance(1_000);
  const [{ method, reason: why, suppressed, level } = {}, ...others] = lines.slice(12);
  assert.deepEqual(
    { method, why, suppressed, level },
    {
      method: "lucky.auth.v1.AuthService/Login",
      why: "CREDENTIALS_INVALID",
      suppressed: 490,
      level: "info",
    },
  );
  assert.deepEqual(others, []);
  assert.match(await metrics.text(), /AuthService\/Login",code="unauthenticated"\} 500/);
  // A new second has its own lines.
  await assert.rejects(auth.login({}));
  assert.equal(logged("rpc"), 13);
  clock.advance(10_000);
  assert.equal(lines.length, 14);
  assert.equal(clock.waiting, 0);
});

test("the number of kinds is bounded: further ones are counted together", () => {
  const clock = new ManualClock();
  const { lines, log } = keptLog();
  const sampler = createLineSampler({ log, clock });
  const admit = (n: number) => sampler.admit({ level: "info", method: `m${n}`, reason: "WRONG" });
  for (let n = 0; n < 1_000; n++) assert.equal(admit(n), true);
  assert.equal(
    Array.from({ length: 5_000 }, (_, n) => admit(2_000 + n)).filter(Boolean).length,
    10,
  );
  assert.equal(admit(7), true);
  clock.advance(1_000);
  assert.deepEqual(
    lines.map(({ method, suppressed }) => ({ method, suppressed })),
    [{ method: "others", suppressed: 4_990 }],
  );
});
