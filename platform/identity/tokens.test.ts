import assert from "node:assert/strict";
import { test } from "node:test";
import { generateKeyPair, SignJWT, UnsecuredJWT } from "jose";
import { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { testIssuer } from "./tokens.fixture.ts";
import { AUDIENCE, createTokenVerifier, ISSUER, type TokenVerifier } from "./tokens.ts";

async function refusal(verifier: TokenVerifier, token: string): Promise<string> {
  const error = await verifier.verify(token).then(
    () => assert.fail("the token was accepted"),
    (thrown: unknown) => thrown,
  );
  return ErrorReason[reasonOf(error)];
}

test("a valid token carries user, device, login, role and expiry", async () => {
  const clock = new ManualClock();
  const issuer = await testIssuer(clock);
  const token = await issuer.token({ sub: "42", sid: "l9", role: "admin" });
  assert.deepEqual(await issuer.verifier.verify(token), {
    kind: "user",
    userId: "42",
    deviceId: "d1",
    deviceClass: DeviceClass.MOBILE,
    loginId: "l9",
    role: "admin",
    keyId: "k1",
    expiresAtMs: clock.now() + 900_000,
    token,
  });
});

test("an expired token is TOKEN_EXPIRED, also when it is cached", async () => {
  const clock = new ManualClock();
  const issuer = await testIssuer(clock);
  const [known, unknown] = [await issuer.token(), await issuer.token()];
  await issuer.verifier.verify(known);
  clock.advance(900_000);
  assert.equal(await refusal(issuer.verifier, known), "TOKEN_EXPIRED");
  assert.equal(await refusal(issuer.verifier, unknown), "TOKEN_EXPIRED");
});

test("a token of an ended login is TOKEN_REVOKED, also when it is cached", async () => {
  const issuer = await testIssuer(new ManualClock());
  const token = await issuer.token();
  await issuer.verifier.verify(token);
  issuer.ended.add("l1");
  assert.equal(await refusal(issuer.verifier, token), "TOKEN_REVOKED");
});

test("forged, foreign, unsigned and malformed tokens are TOKEN_INVALID", async () => {
  const clock = new ManualClock();
  const issuer = await testIssuer(clock);
  const good = await issuer.token();
  const [head = "", body = "", signature = ""] = good.split(".");
  const claims = JSON.parse(Buffer.from(body, "base64url").toString());
  const forged = Buffer.from(JSON.stringify({ ...claims, sub: "2" })).toString("base64url");
  const foreignKey = await generateKeyPair("EdDSA");
  const signed = (header: { alg: string; kid?: string }, key: CryptoKey | Uint8Array) =>
    new SignJWT(claims).setProtectedHeader(header).sign(key);

  const tokens: Record<string, string> = {
    empty: "",
    garbage: "not.a.token",
    dots: "..",
    "changed body": `${head}.${forged}.${signature}`,
    "no signature": `${head}.${body}.`,
    "alg none": new UnsecuredJWT(claims).encode(),
    "alg none with the signature of a valid token": `${Buffer.from('{"alg":"none"}').toString("base64url")}.${body}.${signature}`,
    "public key as HMAC secret": await signed(
      { alg: "HS256", kid: "k1" },
      Buffer.from(JSON.parse(issuer.jwks()).keys[0].x, "base64url"),
    ),
    "another's key under our id": await signed({ alg: "EdDSA", kid: "k1" }, foreignKey.privateKey),
    "unknown key id": await signed({ alg: "EdDSA", kid: "k7" }, foreignKey.privateKey),
    "no key id": await signed({ alg: "EdDSA" }, foreignKey.privateKey),
    "another issuer": await issuer.token({ iss: "elsewhere" }),
    "another audience": await issuer.token({ aud: "elsewhere" }),
    "no login": await issuer.token({ sid: "" }),
    "no user": await issuer.token({ sub: "" }),
    "user 0": await issuer.token({ sub: "0" }),
    "user that is not a number": await issuer.token({ sub: "1 or 1=1" }),
    "unknown device class": await issuer.token({ dcl: 99 }),
    "device class 0": await issuer.token({ dcl: 0 }),
    "unknown role": await issuer.token({ role: "root" }),
    "no expiry": await issuer.token({ exp: undefined }),
    huge: "x".repeat(5_000),
  };
  for (const [what, token] of Object.entries(tokens)) {
    assert.equal(await refusal(issuer.verifier, token), "TOKEN_INVALID", what);
  }
});

test("an unknown key is fetched when its first token arrives, but not more than once in 3 s", async () => {
  const clock = new ManualClock();
  const issuer = await testIssuer(clock);
  let fetches = 0;
  const verifier = createTokenVerifier({
    jwks: async () => {
      fetches++;
      return issuer.jwks();
    },
    issuer: ISSUER,
    audience: AUDIENCE,
    clock,
    revocations: { revoked: () => false, keyState: () => "unknown" },
  });
  await verifier.verify(await issuer.token());
  await issuer.rotate();
  const next = await issuer.token();
  assert.equal(await refusal(verifier, next), "TOKEN_INVALID");
  assert.equal(fetches, 1, "the keys were fetched a moment ago");
  clock.step(-60_000);
  clock.advance(3_000);
  await verifier.verify(next);
  assert.equal(fetches, 2);
});

test("a new key that auth publishes is fetched at once", async () => {
  const clock = new ManualClock();
  const issuer = await testIssuer(clock);
  await issuer.verifier.verify(await issuer.token());
  await issuer.rotate();
  await issuer.verifier.verify(await issuer.token());
});

test("a token of a withdrawn key is TOKEN_EXPIRED at once, also when it is cached", async () => {
  const issuer = await testIssuer(new ManualClock());
  const [known, unknown] = [await issuer.token(), await issuer.token()];
  await issuer.verifier.verify(known);
  issuer.withdrawn.add("k1");
  assert.equal(await refusal(issuer.verifier, known), "TOKEN_EXPIRED");
  assert.equal(await refusal(issuer.verifier, unknown), "TOKEN_EXPIRED");
});

test("a key that is no longer published is evicted after five minutes", async () => {
  const clock = new ManualClock();
  const issuer = await testIssuer(clock);
  const token = await issuer.token();
  await issuer.verifier.verify(await issuer.token());
  await issuer.rotate();
  clock.advance(300_000);
  assert.equal(await refusal(issuer.verifier, token), "TOKEN_INVALID");
});

test("while the keys cannot be fetched, new keys are UNAVAILABLE and cached keys still verify", async () => {
  const clock = new ManualClock();
  const issuer = await testIssuer(clock);
  let unavailable = true;
  const verifier = createTokenVerifier({
    jwks: async () => {
      if (unavailable) throw new Error("auth is unavailable");
      return issuer.jwks();
    },
    issuer: ISSUER,
    audience: AUDIENCE,
    clock,
    revocations: { revoked: () => false, keyState: () => "unknown" },
  });
  assert.equal(await refusal(verifier, await issuer.token()), "UNAVAILABLE");
  unavailable = false;
  await verifier.verify(await issuer.token());
  unavailable = true;
  clock.advance(300_000);
  await verifier.verify(await issuer.token());
  await issuer.rotate();
  assert.equal(await refusal(verifier, await issuer.token()), "UNAVAILABLE");
});
