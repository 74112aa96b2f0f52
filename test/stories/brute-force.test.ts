import assert from "node:assert/strict";
import { after, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { AuthService, DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { LuckyError } from "../../client/error.ts";
import { sealPassword } from "../../client/login/password.ts";
import { type Person, people } from "../world/people.ts";
import { callTransports } from "../world/transports.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
/** First wait: longer than the guesses of a test may take on a busy mesh. */
const FIRST_WAIT_MS = 60_000;
const world = await startWorld(
  { after },
  {
    settings: {
      LUCKY_AUTH_LOGIN_FREE_FAILURES: "3",
      LUCKY_AUTH_LOGIN_FREE_FAILURES_PER_ADDRESS: "30",
      LUCKY_AUTH_LOGIN_DELAY_MS: String(FIRST_WAIT_MS),
      LUCKY_AUTH_LOGIN_MAX_DELAY_MS: "900000",
    },
  },
);
const { clock } = world;
const NAMES = ["ana", "ben", "eve", "kim", "lea", "host", "joe", "max"] as const;
const everyone = await people(world, ...NAMES);
const [ana, ben, eve, kim, lea, host, joe, max] = everyone as [
  Person,
  Person,
  Person,
  Person,
  Person,
  Person,
  Person,
  Person,
];

const RIGHT = "a passphrase for stories";
const device = { deviceId: "guesser", deviceClass: DeviceClass.WEB };

/**
 * Returns a login function that calls from an address in 127.0.0.0/8; it returns the failure, if
 * any.
 */
function loginFrom(address: string) {
  const transport = createConnectTransport({
    baseUrl: world.url,
    httpVersion: "1.1",
    nodeOptions: { localAddress: address },
    defaultTimeoutMs: 30_000,
  });
  const auth = createClient(AuthService, transport);
  return async (userName: string, text = "not the password"): Promise<LuckyError | undefined> => {
    const password = await sealPassword(await auth.getPublicKey({}), text);
    return auth.login({ userName, password, device }).then(
      () => undefined,
      (error: unknown) => LuckyError.from(error),
    );
  };
}
const reasonOf = (failure: LuckyError | undefined) =>
  failure === undefined ? "in" : ErrorReason[failure.reason];

test("wrong guesses lock an account, and only the right password gets told so and for how long", {
  timeout: TIMEOUT,
}, async () => {
  const { userName } = ana;
  const login = loginFrom("127.0.0.11");
  const guesses: (LuckyError | undefined)[] = [];
  for (let n = 0; n < 5; n++) guesses.push(await login(userName));
  const nobody = await login("nobody-at-all");
  for (const guess of guesses) {
    assert.equal(reasonOf(guess), "CREDENTIALS_INVALID");
    assert.equal(guess?.message, nobody?.message);
    assert.equal(guess?.retryAfterMs, nobody?.retryAfterMs);
  }
  const owner = await login(userName, RIGHT);
  assert.equal(reasonOf(owner), "ACCOUNT_LOCKED");
  const { retryAfterMs } = owner!;
  assert.ok(retryAfterMs > 0 && retryAfterMs <= FIRST_WAIT_MS, `${retryAfterMs}`);
  // Logins from another address are locked too: the wait applies to the account.
  assert.equal(reasonOf(await loginFrom("127.0.0.12")(userName, RIGHT)), "ACCOUNT_LOCKED");
  await clock.advance(retryAfterMs);
  assert.equal(reasonOf(await login(userName, RIGHT)), "in");
});

test("each further failure doubles the wait", { timeout: TIMEOUT }, async () => {
  const { userName } = ben;
  const login = loginFrom("127.0.0.21");
  for (let n = 0; n < 3; n++) await login(userName);
  await clock.advance(FIRST_WAIT_MS);
  assert.equal(reasonOf(await login(userName)), "CREDENTIALS_INVALID");
  const again = await login(userName, RIGHT);
  assert.equal(reasonOf(again), "ACCOUNT_LOCKED");
  assert.ok(again!.retryAfterMs > FIRST_WAIT_MS / 2, `${again?.retryAfterMs}`);
  assert.ok(again!.retryAfterMs <= 2 * FIRST_WAIT_MS, `${again?.retryAfterMs}`);
});

test("an address that guesses on many accounts is throttled, other addresses are not", {
  timeout: TIMEOUT,
}, async () => {
  const login = loginFrom("127.0.0.31");
  for (let n = 0; n < 30; n++)
    assert.equal(reasonOf(await login(`somebody-${n}`)), "CREDENTIALS_INVALID");
  const waits = await login(eve.userName, RIGHT);
  assert.equal(reasonOf(waits), "RATE_LIMITED");
  assert.ok(waits!.retryAfterMs > 0);
  assert.equal(reasonOf(await loginFrom("127.0.0.32")(eve.userName, RIGHT)), "in");
  await clock.advance(waits!.retryAfterMs);
  assert.equal(reasonOf(await login(eve.userName, RIGHT)), "in");
});

test("a login from another address does not reset the guesser's wait", {
  timeout: TIMEOUT,
}, async () => {
  const { userName } = kim;
  const guess = loginFrom("127.0.0.41");
  for (let n = 0; n < 4; n++) await guess(userName);
  await clock.advance(FIRST_WAIT_MS);
  assert.equal(reasonOf(await loginFrom("127.0.0.42")(userName, RIGHT)), "in");
  // The wait of the pair (account, address) is over, so it has one guess. Then it waits again, but
  // the owner does not.
  await guess(userName);
  assert.equal(reasonOf(await guess(userName, RIGHT)), "ACCOUNT_LOCKED");
  assert.equal(reasonOf(await loginFrom("127.0.0.42")(userName, RIGHT)), "in");
});

test("concurrent guesses on a locked account count as one failure", {
  timeout: TIMEOUT,
}, async () => {
  const { userName } = lea;
  for (let n = 0; n < 3; n++) await loginFrom("127.0.0.51")(userName);
  await clock.advance(FIRST_WAIT_MS);
  // Only one of the concurrent guesses is checked; the others are refused during its wait.
  const all = await Promise.all(
    Array.from({ length: 8 }, (_, n) => loginFrom(`127.0.0.${60 + n}`)(userName)),
  );
  assert.ok(all.every((failure) => reasonOf(failure) === "CREDENTIALS_INVALID"));
  const after = await loginFrom("127.0.0.52")(userName, RIGHT);
  assert.equal(reasonOf(after), "ACCOUNT_LOCKED");
  // The limiter counted one failure, not eight.
  assert.ok(after!.retryAfterMs <= 2 * FIRST_WAIT_MS, `${after?.retryAfterMs}`);
});

test("the wait grows to 15 minutes and resets after a day without a guess", {
  timeout: TIMEOUT,
}, async () => {
  const { userName } = max;
  // Each guess comes from another address; otherwise the limit per address would apply first.
  const login = (n: number, text?: string) => loginFrom(`127.0.1.${n}`)(userName, text);
  const waits: number[] = [];
  for (let n = 1; n <= 8; n++) {
    assert.equal(reasonOf(await login(n)), "CREDENTIALS_INVALID");
    if (n < 3) continue;
    const owner = await login(100 + n, RIGHT);
    assert.equal(reasonOf(owner), "ACCOUNT_LOCKED");
    waits.push(Math.ceil(owner!.retryAfterMs / FIRST_WAIT_MS));
    await clock.advance(owner!.retryAfterMs);
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 15, 15]);
  await clock.advance(86_400_000);
  // The account has all its free guesses again.
  for (let n = 9; n <= 10; n++) assert.equal(reasonOf(await login(n)), "CREDENTIALS_INVALID");
  assert.equal(reasonOf(await login(11, RIGHT)), "in");
});

test("guesses over every transport count together", { timeout: TIMEOUT }, async (t) => {
  const { userName } = joe;
  for (const transport of await callTransports(t, world, host)) {
    const auth = transport.client(AuthService);
    const password = await sealPassword(await auth.getPublicKey({}), "wrong");
    const guess = auth.login({ userName, password, device });
    await assert.rejects(guess, (e) => reasonOf(LuckyError.from(e)) === "CREDENTIALS_INVALID");
  }
  assert.equal(reasonOf(await loginFrom("127.0.0.71")(userName, RIGHT)), "ACCOUNT_LOCKED");
});
