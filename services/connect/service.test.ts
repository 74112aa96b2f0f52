import assert from "node:assert/strict";
import { get } from "node:http";
import { test } from "node:test";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { FULL_LOAD } from "#platform/registry/registry.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { startConnectHarness } from "../../test/connect/connect-harness.ts";
import { RawDevice } from "../../test/devices/raw-device.ts";
import { toUser } from "./uplink/sends.fixture.ts";

test("a send is accepted and reaches the other user and the sender's other device, but not its origin", async (t) => {
  const harness = await startConnectHarness(t);
  const ana = await harness.device("1", "a1");
  const anaToo = await harness.device("1", "a2");
  const ben = await harness.device("2");
  ana.send(toUser("2", "m1"));
  const { results } = await ana.next("sendResults");
  assert.equal(results[0]!.outcome.case, "accepted");
  const { entries } = await ben.next("deliver");
  assert.equal(entries[0]!.clientMessageId, "m1");
  assert.equal(entries[0]!.sequence, 1n);
  assert.equal((await anaToo.next("deliver")).entries.length, 1);
  await ana.roundTrip();
  assert.equal(ana.seen("deliver").length, 0);
});

test("connect rejects with a clear error when the port is taken", async (t) => {
  const harness = await startConnectHarness(t);
  const second = startConnectHarness(t, {
    config: { port: harness.port },
    instanceId: "connect-1",
  });
  await assert.rejects(second, /cannot listen on .*EADDRINUSE/);
});

test("a start that the registry refuses leaves no timer running", async (t) => {
  const harness = await startConnectHarness(t);
  const clock = new ManualClock();
  const sameId = startConnectHarness(t, { with: harness, clock });
  await assert.rejects(sameId, /connect-0/);
  assert.equal(clock.waiting, 0);
  await harness.device("1");
});

test("another subprotocol and any other path are refused", async (t) => {
  const harness = await startConnectHarness(t);
  const foreign = new WebSocket(`${harness.address.replace("http", "ws")}/ws`, "other.v1");
  await new Promise((resolve) => foreign.addEventListener("error", resolve));
  assert.equal((await fetch(`${harness.address}/elsewhere`)).status, 404);
  assert.equal((await fetch(`${harness.address}/healthz`)).status, 200);
});

test("a token that is forged, expired or revoked opens no session", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock });
  const say = async (token: string) => {
    const device = await RawDevice.open(harness.address);
    device.send({ case: "hello", value: { accessToken: token } });
    return (await device.closed).code;
  };
  const expired = await harness.issuer.token({ exp: Math.floor(clock.now() / 1000) - 1 });
  assert.equal(await say("forged"), CloseCode.TOKEN_INVALID);
  assert.equal(await say(""), CloseCode.TOKEN_INVALID);
  assert.equal(await say(expired), CloseCode.TOKEN_EXPIRED);
  harness.issuer.ended.add("gone");
  assert.equal(await say(await harness.issuer.token({ sid: "gone" })), CloseCode.TOKEN_REVOKED);
});

test("a socket without Hello, a silent socket and a socket with an expired token are closed in time", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock });
  const mute = await RawDevice.open(harness.address);
  await fetch(`${harness.address}/healthz`);
  clock.advance(5_000);
  assert.equal((await mute.closed).code, CloseCode.HELLO_TIMEOUT);

  const silent = await harness.device("1");
  // The time passes at once, before the device can answer a ping.
  clock.advance(55_000);
  assert.equal((await silent.closed).code, CloseCode.HEARTBEAT_TIMEOUT);
  const alive = await harness.device("2");
  for (let at = 60_000; at < 960_000; at += 45_000) {
    await alive.roundTrip();
    clock.advance(45_000);
  }
  assert.equal((await alive.next("kick")).code, CloseCode.TOKEN_EXPIRED);
  assert.equal((await alive.closed).code, CloseCode.TOKEN_EXPIRED);
});

test("a fresh token of the same device keeps the session, a token of another user ends it", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock, config: { heartbeatIntervalMs: 300_000 } });
  const ana = await harness.device("1", "a");
  clock.advance(500_000);
  const dcl = 3;
  const fresh = await harness.issuer.token({ sub: "1", did: "a", sid: "l1-a", dcl });
  // The verifier caches it, so that Renew completes without a wait.
  await harness.issuer.verifier.verify(fresh);
  ana.send({ case: "renew", value: { accessToken: fresh } });
  await ana.roundTrip();
  clock.advance(500_000);
  await ana.roundTrip();
  const foreign = await harness.issuer.token({ sub: "2", did: "a", sid: "l2", dcl });
  ana.send({ case: "renew", value: { accessToken: foreign } });
  assert.equal((await ana.closed).code, CloseCode.TOKEN_INVALID);
});

test("a revoked login closes its own sessions and no others", async (t) => {
  const harness = await startConnectHarness(t);
  const ana = await harness.device("1", "a");
  const other = await harness.device("1", "b");
  harness.revoke("l1-a");
  assert.equal((await ana.next("kick")).code, CloseCode.TOKEN_REVOKED);
  assert.equal((await ana.closed).code, CloseCode.TOKEN_REVOKED);
  await other.roundTrip();
});

test("a second device of a class kicks the first, also on another instance", async (t) => {
  const harness = await startConnectHarness(t);
  const other = await startConnectHarness(t, { with: harness, instanceId: "connect-1" });
  const mobile = 1;
  const first = await harness.device("1", "phone-1", mobile);
  const second = await harness.device("1", "phone-2", mobile);
  assert.equal((await first.closed).code, CloseCode.REPLACED);
  const third = await other.device("1", "phone-3", mobile);
  assert.equal((await second.next("kick")).code, CloseCode.REPLACED);
  assert.equal((await second.closed).code, CloseCode.REPLACED);
  await third.roundTrip();
});

test("sends are retried while the server is unavailable, then refused as unavailable", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock });
  const ana = await harness.device("1");
  harness.ingress.down = true;
  ana.send(toUser("2", "m1"));
  await ana.roundTrip();
  const moving = setInterval(() => clock.advance(500), 1);
  t.after(async () => clearInterval(moving));
  const { results } = await ana.next("sendResults");
  clearInterval(moving);
  assert.equal(results[0]!.clientMessageId, "m1");
  assert.equal(results[0]!.outcome.case, "refused");
  harness.ingress.down = false;
  ana.send(toUser("2", "m1"));
  const again = await ana.next("sendResults");
  assert.equal(again.results[0]!.outcome.case, "accepted");
});

test("sends beyond the window are refused with OVERLOADED, and the other sends are accepted", async (t) => {
  const harness = await startConnectHarness(t, { config: { maxSendsInFlight: 4 } });
  const ana = await harness.device("1");
  harness.ingress.down = true;
  for (let i = 0; i < 10; i += 1) ana.send(toUser("2", `m${i}`));
  const refused: string[] = [];
  while (refused.length < 6) {
    const { results } = await ana.next("sendResults");
    for (const { clientMessageId } of results) refused.push(clientMessageId);
  }
  harness.ingress.down = false;
  assert.deepEqual(refused, ["m4", "m5", "m6", "m7", "m8", "m9"]);
  let accepted = 0;
  while (accepted < 4) accepted += (await ana.next("sendResults")).results.length;
});

test("too many frames a second close the session", async (t) => {
  const harness = await startConnectHarness(t, {
    config: { framesPerSecond: 10, framesBurst: 20 },
  });
  const ana = await harness.device("1");
  for (let i = 0; i < 40; i += 1) ana.send({ case: "heartbeat", value: {} });
  assert.equal((await ana.closed).code, CloseCode.RATE_LIMITED);
});

test("typing signals reach the server", async (t) => {
  const harness = await startConnectHarness(t);
  const ana = await harness.device("1");
  ana.send({ case: "typing", value: { conversationId: "1000002", typing: true } });
  while (harness.ingress.signals.length === 0) await ana.roundTrip();
  assert.equal(harness.ingress.signals[0]!.senderId, "1");
});

test("after the registry lost the instance, the instance rejoins everything and sweeps", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock });
  const ana = await harness.device("1");
  const ben = await harness.device("2");
  assert.deepEqual(await harness.registry.locate(["u:2"]), [["connect-0"]]);
  harness.ingress.dropPublishes = true;
  ana.send(toUser("2", "m1"));
  await ana.next("sendResults");
  harness.ingress.dropPublishes = false;
  // The lease expires before it can be renewed.
  await harness.forgetInstance();
  clock.advance(6_000);
  await ben.roundTrip();
  await ben.roundTrip();
  assert.deepEqual(await harness.registry.locate(["u:2"]), [["connect-0"]]);
  clock.advance(3_000);
  assert.equal((await ben.next("syncRequired")).lastSequence, 1n);
});

test("a stopping instance sends Move to its sessions and closes the ones that stay", async (t) => {
  const harness = await startConnectHarness(t);
  const ana = await harness.device("1");
  const stopping = harness.stop();
  assert.equal(harness.ready(), false);
  await ana.next("move");
  assert.equal((await ana.closed).code, CloseCode.MOVE);
  await stopping;
  await assert.rejects(fetch(`${harness.address}/healthz`));
  assert.deepEqual(await harness.registry.instances("connect"), []);
});

test("over the bound of sessions an upgrade gets 503, until a session ends", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock, config: { maxSessions: 1 } });
  const ana = await harness.device("1");
  const upgrade = () => statusOfUpgrade(harness.port);
  assert.deepEqual(await upgrade(), [503, "this instance is full; retry soon"]);
  while ((await harness.registry.instances("connect"))[0]!.load !== FULL_LOAD) {
    clock.advance(1_000);
    await ana.roundTrip();
  }
  await ana.close();
  while ((await upgrade())[0] === 503) await new Promise(setImmediate);
});

/** Status and text of the answer to an upgrade. */
function statusOfUpgrade(port: number): Promise<[number | undefined, string]> {
  const headers = {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-protocol": "lucky.v1",
  };
  return new Promise((resolve, reject) => {
    const request = get({ port, path: "/ws", headers, agent: false });
    request.on("error", reject);
    request.on("upgrade", (response, socket) => {
      socket.destroy();
      resolve([response.statusCode, ""]);
    });
    request.on("response", async (response) => {
      resolve([response.statusCode, String(Buffer.concat(await response.toArray()))]);
    });
  });
}

test("a session that ends releases its device slot and its channel", async (t) => {
  const harness = await startConnectHarness(t);
  const ana = await harness.device("1");
  await ana.close();
  while ((await harness.registry.locate(["u:1"]))[0]!.length > 0) {
    await fetch(`${harness.address}/healthz`);
  }
  const end = harness.events.find(({ event }) => event === "session_end");
  assert.equal(end?.userId, "1");
});

test("a text frame, a too large frame and a second Hello close the session with their codes", async (t) => {
  const harness = await startConnectHarness(t, { config: { maxFrameBytes: 2_048 } });
  const text = new WebSocket(`${harness.address.replace("http", "ws")}/ws`, "lucky.v1");
  await new Promise((resolve) => text.addEventListener("open", resolve));
  const closed = new Promise<number>((resolve) => {
    text.addEventListener("close", ({ code }) => resolve(code));
  });
  text.send("hello");
  assert.equal(await closed, CloseCode.PROTOCOL_ERROR);

  const large = await harness.device("1");
  large.sendBytes(new Uint8Array(2_049));
  assert.equal((await large.closed).code, CloseCode.FRAME_TOO_LARGE);
  const huge = await harness.device("2");
  huge.sendBytes(new Uint8Array(200_000));
  await huge.closed;
  const twice = await harness.device("3");
  twice.send({ case: "hello", value: { accessToken: "again" } });
  assert.equal((await twice.closed).code, CloseCode.PROTOCOL_ERROR);
});
