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
/** How long the first wait is: longer than the guesses of a busy mesh may take. */
const FIRST_MS = 60_000;
const world = await startWorld(
  { after },
  {
    settings: {
      LUCKY_AUTH_LOGIN_FREE_FAILURES: "3",
      LUCKY_AUTH_LOGIN_FREE_FAILURES_PER_ADDRESS: "30",
      LUCKY_AUTH_LOGIN_DELAY_MS: String(FIRST_MS),
      LUCKY_AUTH_LOGIN_MAX_DELAY_MS: "900000",
    },
  },
);
const { clock } = world;
const NAMES = ["ana", "ben", "eve", "kim", "lea", "host", "joe", "max"] as const;
const everybody = await people(world, ...NAMES);
const [ana, ben, eve, kim, lea, host, joe, max] = everybody as [
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

/** Somebody at an address of their own, in 127.0.0.0/8, who tries to log in. */
function at(address: string) {
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

test("guessing locks an account; only the right password learns so, and when it opens", {
  timeout: TIMEOUT,
}, async () => {
  const { userName } = ana;
  const login = at("127.0.0.11");
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
  assert.ok(retryAfterMs > 0 && retryAfterMs <= FIRST_MS, `${retryAfterMs}`);
  // From elsewhere, too: the account waits, not the address.
  assert.equal(reasonOf(await at("127.0.0.12")(userName, RIGHT)), "ACCOUNT_LOCKED");
  await clock.advance(retryAfterMs);
  assert.equal(reasonOf(await login(userName, RIGHT)), "in");
});

test("each further failure waits twice as long", { timeout: TIMEOUT }, async () => {
  const { userName } = ben;
  const login = at("127.0.0.21");
  for (let n = 0; n < 3; n++) await login(userName);
  await clock.advance(FIRST_MS);
  assert.equal(reasonOf(await login(userName)), "CREDENTIALS_INVALID");
  const again = await login(userName, RIGHT);
  assert.equal(reasonOf(again), "ACCOUNT_LOCKED");
  assert.ok(again!.retryAfterMs > FIRST_MS / 2, `${again?.retryAfterMs}`);
  assert.ok(again!.retryAfterMs <= 2 * FIRST_MS, `${again?.retryAfterMs}`);
});

test("an address that guesses on many accounts has to wait; others do not", {
  timeout: TIMEOUT,
}, async () => {
  const login = at("127.0.0.31");
  for (let n = 0; n < 30; n++)
    assert.equal(reasonOf(await login(`somebody-${n}`)), "CREDENTIALS_INVALID");
  const waits = await login(eve.userName, RIGHT);
  assert.equal(reasonOf(waits), "RATE_LIMITED");
  assert.ok(waits!.retryAfterMs > 0);
  assert.equal(reasonOf(await at("127.0.0.32")(eve.userName, RIGHT)), "in");
  await clock.advance(waits!.retryAfterMs);
  assert.equal(reasonOf(await login(eve.userName, RIGHT)), "in");
});

test("who is in again from elsewhere does not let the guesser guess on", {
  timeout: TIMEOUT,
}, async () => {
  const { userName } = kim;
  const guess = at("127.0.0.41");
  for (let n = 0; n < 4; n++) await guess(userName);
  await clock.advance(FIRST_MS);
  assert.equal(reasonOf(await at("127.0.0.42")(userName, RIGHT)), "in");
  // The pair is through its wait, and has one guess; then it waits again, and the owner does not.
  await guess(userName);
  assert.equal(reasonOf(await guess(userName, RIGHT)), "ACCOUNT_LOCKED");
  assert.equal(reasonOf(await at("127.0.0.42")(userName, RIGHT)), "in");
});

test("many guesses at once on a locked account are one guess", { timeout: TIMEOUT }, async () => {
  const { userName } = lea;
  for (let n = 0; n < 3; n++) await at("127.0.0.51")(userName);
  await clock.advance(FIRST_MS);
  // All of them right: one gets in at most, the others read that they come too early.
  const all = await Promise.all(
    Array.from({ length: 8 }, (_, n) => at(`127.0.0.${60 + n}`)(userName)),
  );
  assert.ok(all.every((failure) => reasonOf(failure) === "CREDENTIALS_INVALID"));
  const after = await at("127.0.0.52")(userName, RIGHT);
  assert.equal(reasonOf(after), "ACCOUNT_LOCKED");
  // One failure was counted, not eight.
  assert.ok(after!.retryAfterMs <= 2 * FIRST_MS, `${after?.retryAfterMs}`);
});

test("the wait grows to a quarter of an hour, and after a day without a guess nothing is left", {
  timeout: TIMEOUT,
}, async () => {
  const { userName } = max;
  // As from many addresses, or the address would wait first.
  const login = (n: number, text?: string) => at(`127.0.1.${n}`)(userName, text);
  const waits: number[] = [];
  for (let n = 1; n <= 8; n++) {
    assert.equal(reasonOf(await login(n)), "CREDENTIALS_INVALID");
    if (n < 3) continue;
    const owner = await login(100 + n, RIGHT);
    assert.equal(reasonOf(owner), "ACCOUNT_LOCKED");
    waits.push(Math.ceil(owner!.retryAfterMs / FIRST_MS));
    await clock.advance(owner!.retryAfterMs);
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 15, 15]);
  await clock.advance(86_400_000);
  // As many free guesses as at the first time.
  for (let n = 9; n <= 10; n++) assert.equal(reasonOf(await login(n)), "CREDENTIALS_INVALID");
  assert.equal(reasonOf(await login(11, RIGHT)), "in");
});

test("whatever door the guesses come by, they count", { timeout: TIMEOUT }, async (t) => {
  const { userName } = joe;
  for (const door of await callTransports(t, world, host)) {
    const auth = door.client(AuthService);
    const password = await sealPassword(await auth.getPublicKey({}), "wrong");
    const guess = auth.login({ userName, password, device });
    await assert.rejects(guess, (e) => reasonOf(LuckyError.from(e)) === "CREDENTIALS_INVALID");
  }
  assert.equal(reasonOf(await at("127.0.0.71")(userName, RIGHT)), "ACCOUNT_LOCKED");
});
