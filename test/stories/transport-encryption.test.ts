import assert from "node:assert/strict";
import { constants, createPublicKey, publicEncrypt, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { after, test } from "node:test";
import { connect, setDefaultCACertificates } from "node:tls";
import { AuthService, DeviceClass, type GetPublicKeyResponse } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { reasonOf } from "../../client/error.ts";
import { type SealedPassword, sealPassword } from "../../client/login/password.ts";
import { testAuthority } from "../tls/certificates.ts";
import { clientOf, people } from "../world/people.ts";
import { callTransports } from "../world/transports.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const authority = await testAuthority({ after });
const certificate = await authority.issue("127.0.0.1");
// All clients of this process trust the authority.
setDefaultCACertificates([readFileSync(certificate.caFile, "utf8")]);
const world = await startWorld(
  { after },
  {
    settings: {
      LUCKY_GATEWAY_TLS_CERT_FILE: certificate.certFile,
      LUCKY_GATEWAY_TLS_KEY_FILE: certificate.keyFile,
    },
  },
);
const auth = clientOf(world.url, AuthService);
const device = { deviceId: "first", deviceClass: DeviceClass.MOBILE };
const PASSWORD = "a passphrase for stories";
const [ana] = await people(world, "ana");
const login = (sealed: SealedPassword) =>
  auth.login({ userName: ana!.userName, password: sealed, device });
const invalid = (call: Promise<unknown>) =>
  assert.rejects(call, (error) => {
    assert.equal(ErrorReason[reasonOf(error)], "ENCRYPTION_INVALID");
    return true;
  });

test("a client without our library can seal a password with JWK or SPKI, nonce, time and OAEP", {
  timeout: TIMEOUT,
}, async () => {
  for (const form of ["spki", "jwk"] as const) {
    const { keyId, spki, jwkJson, nonce, serverTimeMs } = await auth.getPublicKey({});
    const algorithm = { name: "RSA-OAEP", hash: "SHA-256" };
    const key =
      form === "spki"
        ? await crypto.subtle.importKey("spki", new Uint8Array(spki), algorithm, false, ["encrypt"])
        : await crypto.subtle.importKey("jwk", JSON.parse(jwkJson), algorithm, false, ["encrypt"]);
    // Protobuf bytes without a library: field 1 bytes, field 2 varint, field 3 string.
    const text = Buffer.from(PASSWORD);
    const plain = Buffer.concat([
      Buffer.from([0x0a, nonce.length]),
      nonce,
      Buffer.from([0x10, ...varint(serverTimeMs)]),
      Buffer.from([0x1a, text.length]),
      text,
    ]);
    const ciphertext = await crypto.subtle.encrypt(algorithm.name, key, plain);
    const { user } = await login({ keyId, ciphertext: new Uint8Array(ciphertext) });
    assert.equal(user?.userId, ana!.userId);
  }
});

test("a ciphertext works once, so a recorded request cannot be replayed", {
  timeout: TIMEOUT,
}, async () => {
  const sealed = await sealPassword(await auth.getPublicKey({}), PASSWORD);
  const outcomes = await Promise.allSettled([login(sealed), login(sealed), login(sealed)]);
  assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
  await invalid(login(sealed));
  // A used ciphertext does not work for another method either.
  await invalid(auth.register({ userName: "somebody-else", password: sealed }));
});

test("a ciphertext without a nonce of the server or with a wrong time is refused", {
  timeout: TIMEOUT,
}, async () => {
  const key = await auth.getPublicKey({});
  const seal = (change: Partial<GetPublicKeyResponse>) =>
    sealPassword({ ...key, ...change } as GetPublicKeyResponse, PASSWORD);
  await invalid(login(await seal({ nonce: new Uint8Array(randomBytes(40)) })));
  await invalid(login(await seal({ nonce: new Uint8Array() })));
  await invalid(login(await seal({ serverTimeMs: key.serverTimeMs - 180_000n })));
  await invalid(login(await seal({ serverTimeMs: key.serverTimeMs + 120_000n })));
  await invalid(login(raw(key, Buffer.from(PASSWORD))));
  await invalid(login({ keyId: "another", ciphertext: (await seal({})).ciphertext }));
  // The refused requests did not use up the nonce.
  await login(await seal({}));
});

test("both passwords of a request must carry the same nonce", { timeout: TIMEOUT }, async () => {
  const [ben] = await people(world, "ben");
  const own = clientOf(world.url, AuthService, (await ben!.login()).accessToken);
  const [one, two] = [await auth.getPublicKey({}), await auth.getPublicKey({})];
  const change = async (old: GetPublicKeyResponse, fresh: GetPublicKeyResponse) =>
    own.changePassword({
      oldPassword: await sealPassword(old, PASSWORD),
      newPassword: await sealPassword(fresh, "tulip hatchet orbit"),
    });
  await invalid(change(one, two));
  await change(one, one);
  await invalid(change(one, one));
});

test("a nonce and its ciphertexts expire after two minutes", {
  timeout: TIMEOUT,
}, async () => {
  const key = await auth.getPublicKey({});
  const [inTime, late] = [await sealPassword(key, PASSWORD), await auth.getPublicKey({})];
  await world.clock.advance(100_000);
  await login(inTime);
  await world.clock.advance(21_000);
  // An expired nonce is refused with a current time, and an expired time with a current nonce.
  const now = await auth.getPublicKey({});
  await invalid(login(await sealPassword(late, PASSWORD)));
  const { serverTimeMs } = now;
  await invalid(login(await sealPassword({ ...late, serverTimeMs }, PASSWORD)));
  await invalid(login(await sealPassword({ ...now, serverTimeMs: late.serverTimeMs }, PASSWORD)));
  await login(await sealPassword(now, PASSWORD));
});

/** The serial number of the certificate of a new connection. */
async function servedSerial(): Promise<string> {
  const { port } = new URL(world.url);
  const socket = connect({ host: "127.0.0.1", port: Number(port) });
  socket.on("error", () => {});
  await once(socket, "secureConnect");
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}

test("the gateway serves every protocol over TLS, and a renewed certificate ends no session", {
  timeout: TIMEOUT,
}, async (t) => {
  const [cleo, dan] = await people(world, "cleo", "dan");
  for (const { name, client } of await callTransports(t, world, cleo!)) {
    const { users } = await client(UserService).batchGetUsers({ userIds: [cleo!.userId] });
    assert.equal(users[0]?.userId, cleo!.userId, name);
  }
  const [sender, receiver] = [await cleo!.clientDevice(), await dan!.clientDevice()];
  await Promise.all([sender.client.connect(), receiver.client.connect()]);
  t.after(() => Promise.all([cleo!.closeDevices(), dan!.closeDevices()]));
  const sends = async (value: string) => {
    await sender.client.send({ userId: dan!.userId }, value);
    await receiver.until(() => receiver.texts().at(-1) === value);
  };
  let disconnected = false;
  receiver.client.on("state", ({ kind }) => {
    disconnected ||= kind !== "open";
  });
  await sends("before");
  const before = await servedSerial();
  const renewed = await authority.issue("127.0.0.1");
  await copyFile(renewed.certFile, certificate.certFile);
  await copyFile(renewed.keyFile, certificate.keyFile);
  while ((await servedSerial()) === before);
  await sends("after");
  assert.equal(disconnected, false);
});

function varint(value: bigint): number[] {
  return value < 128n ? [Number(value)] : [Number(value & 127n) | 128, ...varint(value >> 7n)];
}

/** Encrypts any bytes under the key, without the structure that clients use. */
function raw({ keyId, spki }: GetPublicKeyResponse, plain: Uint8Array): SealedPassword {
  const key = createPublicKey({ key: Buffer.from(spki), type: "spki", format: "der" });
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const ciphertext = publicEncrypt({ key, padding, oaepHash: "sha256" }, plain);
  return { keyId, ciphertext: new Uint8Array(ciphertext) };
}
