import * as uws from "uWebSockets.js";
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { TokensSchema } from "../gen/lucky/auth/v1/auth_pb.js";
import {
  type ClientFrame,
  ClientFrameSchema,
  CloseCode,
  Feature,
  ReconnectAction,
  ServerFrameSchema,
} from "../gen/lucky/frame/v1/frame_pb.js";
import { ManualClock } from "../test/clock/manual-clock.ts";
import {
  type ClientTooOld,
  ReconnectingSession,
  type SessionState,
} from "./connection/reconnecting-session.ts";
import { TokenKeeper } from "./rpc/tokens.ts";

const INTERVAL_MS = 1_000;
const LIFE_MS = 900_000;

/** A queue of values that the test has not taken yet. */
class Arrivals<T> {
  readonly #values: T[] = [];
  readonly #waiting: ((value: T) => void)[] = [];

  add(value: T): void {
    const receiver = this.#waiting.shift();
    if (receiver) receiver(value);
    else this.#values.push(value);
  }

  async next(): Promise<T> {
    return this.#values.shift() ?? new Promise((resolve) => this.#waiting.push(resolve));
  }

  async find(match: (value: T) => boolean): Promise<T> {
    for (;;) {
      const value = await this.next();
      if (match(value)) return value;
    }
  }
}

/** The server's end of one session, controlled by the test. */
class Peer {
  readonly frames = new Arrivals<ClientFrame["kind"]>();
  readonly #socket: uws.WebSocket<{ peer?: Peer }>;

  constructor(socket: uws.WebSocket<{ peer?: Peer }>) {
    this.#socket = socket;
  }

  send(kind: MessageInitShape<typeof ServerFrameSchema>["kind"]): void {
    const frame = create(ServerFrameSchema, { kind });
    this.#socket.send(toBinary(ServerFrameSchema, frame), true);
  }

  async welcome(heartbeatMs = INTERVAL_MS): Promise<void> {
    await this.frames.find(({ case: kind }) => kind === "hello");
    const value = { heartbeatIntervalMs: BigInt(heartbeatMs), serverTimeMs: 0n };
    this.send({ case: "welcome", value: value });
  }

  close(code: number): void {
    this.#socket.end(code);
  }

  /** Breaks the connection without a close code. */
  cut(): void {
    this.#socket.close();
  }
}

/** A ReconnectingSession to a WebSocket server that the test controls. */
async function setUp(t: TestContext, options: { refuses?: () => boolean } = {}) {
  const peers = new Arrivals<Peer>();
  const app = uws.App().ws<{ peer?: Peer }>("/*", {
    upgrade(response, request, context) {
      if (options.refuses?.()) return void response.writeStatus("503 Busy").end("busy", true);
      const key = request.getHeader("sec-websocket-key");
      response.upgrade({}, key, request.getHeader("sec-websocket-protocol"), "", context);
    },
    open(socket) {
      const data = socket.getUserData();
      data.peer = new Peer(socket);
      peers.add(data.peer);
    },
    message(socket, bytes) {
      const frame = fromBinary(ClientFrameSchema, new Uint8Array(bytes.slice(0)));
      socket.getUserData().peer!.frames.add(frame.kind);
    },
  });
  const port = await new Promise<number>((resolve) =>
    app.listen("127.0.0.1", 0, (socket) => resolve(uws.us_socket_local_port(socket))),
  );
  const clock = new ManualClock(0);
  const states = new Arrivals<SessionState>();
  let exchanges = 0;
  const tokensOf = (n: number) =>
    create(TokensSchema, {
      accessToken: `access ${n}`,
      accessTokenExpiresAtMs: BigInt(clock.now() + LIFE_MS),
    });
  const tokens = new TokenKeeper({
    clock,
    exchange: async () => tokensOf(++exchanges),
    changed: ({ accessToken }) => session.renew(accessToken),
  });
  const frames = new Arrivals<string>();
  const tooOld: ClientTooOld[] = [];
  const session: ReconnectingSession = new ReconnectingSession({
    clock,
    webSocket: WebSocket,
    program: { clientName: "test", clientVersion: "1.2" },
    tokens,
    endpoint: async () => `ws://127.0.0.1:${port}/ws`,
    state: (state) => states.add(state),
    opened: () => {},
    frame: (frame) => frames.add(frame.case),
    lost: () => {},
    tooOld: (info) => tooOld.push(info),
    // The longest delay of each back-off.
    random: () => 0.99999,
  });
  tokens.set(tokensOf(0), { fresh: true });
  t.after(async () => {
    app.close();
    await session.stop("by-caller");
  });
  const stateOf = (kind: SessionState["kind"]) => states.find((state) => state.kind === kind);
  const open = async (heartbeatMs?: number) => {
    session.start();
    const peer = await peers.next();
    await peer.welcome(heartbeatMs);
    await stateOf("open");
    return peer;
  };
  /** Waits for the back-off, lets it pass, and returns it, ms. */
  const backOff = async () => {
    const waiting = await stateOf("waiting");
    assert.ok(waiting.kind === "waiting");
    clock.advance(waiting.retryInMs);
    return waiting.retryInMs;
  };
  /** Welcomes the next session. */
  const welcomed = async () => {
    const peer = await peers.next();
    await peer.welcome();
    await stateOf("open");
    return peer;
  };
  return { clock, session, peers, frames, open, stateOf, tooOld, backOff, welcomed };
}

const TIMEOUT = 20_000;

test("a session that breaks is reopened after a back-off", {
  timeout: TIMEOUT,
}, async (t) => {
  const { open, clock, peers, stateOf } = await setUp(t);
  const first = await open();
  first.close(CloseCode.UNAVAILABLE);
  const waiting = await stateOf("waiting");
  assert.ok(waiting.kind === "waiting" && waiting.retryInMs >= 1_000);
  clock.advance(waiting.retryInMs);
  await (await peers.next()).welcome();
  await stateOf("open");
});

test("a session that was replaced is not reopened", {
  timeout: TIMEOUT,
}, async (t) => {
  const { open, stateOf } = await setUp(t);
  const peer = await open();
  peer.close(CloseCode.REPLACED);
  assert.deepEqual(await stateOf("closed"), { kind: "closed", reason: "replaced" });
});

test("a session whose token expired is reopened with a refreshed token", {
  timeout: TIMEOUT,
}, async (t) => {
  const { open, clock, peers, stateOf } = await setUp(t);
  const first = await open();
  first.close(CloseCode.TOKEN_EXPIRED);
  const waiting = await stateOf("waiting");
  clock.advance(waiting.kind === "waiting" ? waiting.retryInMs : 0);
  const hello = await (await peers.next()).frames.next();
  assert.equal(hello.case === "hello" && hello.value.accessToken, "access 1");
});

test("a silent server times out after two heartbeat intervals", {
  timeout: TIMEOUT,
}, async (t) => {
  const { open, clock, stateOf } = await setUp(t);
  const peer = await open();
  clock.advance(INTERVAL_MS / 2);
  await peer.frames.find((frame) => frame.case === "heartbeat");
  clock.advance(INTERVAL_MS * 1.5);
  await stateOf("waiting");
});

test("a server that answers heartbeats keeps the session", { timeout: TIMEOUT }, async (t) => {
  const { open, clock, session, frames } = await setUp(t);
  const peer = await open();
  for (let beat = 0; beat < 10; beat++) {
    clock.advance(INTERVAL_MS / 2);
    await peer.frames.find((frame) => frame.case === "heartbeat");
    peer.send({ case: "heartbeat", value: {} });
    await frames.next();
  }
  assert.equal(session.state.kind, "open");
});

test("a session that receives a move reconnects after the requested delay", {
  timeout: TIMEOUT,
}, async (t) => {
  const { open, clock, peers, frames, stateOf } = await setUp(t);
  const first = await open();
  first.send({ case: "move", value: { afterMs: 300n } });
  first.send({ case: "heartbeat", value: {} });
  await frames.next();
  clock.advance(300);
  await (await peers.next()).welcome();
  await stateOf("open");
});

test("an open session renews its token before the old one expires", {
  timeout: TIMEOUT,
}, async (t) => {
  const { open, clock } = await setUp(t);
  const peer = await open(2 * LIFE_MS);
  clock.advance(LIFE_MS - 30_000);
  const frame = await peer.frames.find(({ case: kind }) => kind === "renew");
  assert.equal(frame.case === "renew" && frame.value.accessToken, "access 1");
});

test("closing ends the session with state closed", { timeout: TIMEOUT }, async (t) => {
  const { open, session } = await setUp(t);
  await open();
  await session.stop("by-caller");
  assert.deepEqual(session.state, { kind: "closed", reason: "by-caller" });
  assert.equal(session.send({ case: "heartbeat", value: {} }), false);
});

test("Hello names the program, its kinds of content and features, and the revision", {
  timeout: TIMEOUT,
}, async (t) => {
  const { session, peers } = await setUp(t);
  session.start();
  const hello = await (await peers.next()).frames.next();
  assert.ok(hello.case === "hello");
  const { clientName, clientVersion, protocolRevision, contentKinds, features } = hello.value;
  assert.deepEqual([clientName, clientVersion, protocolRevision], ["test", "1.2", 1]);
  assert.equal(String(contentKinds), "1,2,3,4,5,6,7,8,9,10,11,12,13,14,20,21,22,23,24");
  assert.deepEqual(features, [Feature.TYPING, Feature.RECEIPTS, Feature.SECURITY_NOTICES]);
});

test("a client that is too old learns the text and the address of a newer one, before Welcome", {
  timeout: TIMEOUT,
}, async (t) => {
  const { session, peers, stateOf, tooOld } = await setUp(t);
  session.start();
  const peer = await peers.next();
  await peer.frames.next();
  const info = { text: "Please update.", upgradeUrl: "https://example.org/new" };
  peer.send({ case: "kick", value: { code: CloseCode.CLIENT_TOO_OLD, ...info } });
  peer.close(CloseCode.CLIENT_TOO_OLD);
  assert.deepEqual(await stateOf("closed"), { kind: "closed", reason: "client-too-old" });
  assert.deepEqual(tooOld, [info]);
});

test("a Kick decides the next step also when the connection breaks before the close", {
  timeout: TIMEOUT,
}, async (t) => {
  const { open, stateOf, frames } = await setUp(t);
  const peer = await open();
  const { RECONNECT, STAY_CLOSED } = ReconnectAction;
  peer.send({
    case: "kick",
    value: { code: CloseCode.LOG_RESET, action: RECONNECT, retryAfterMs: 7_000n },
  });
  await frames.next();
  peer.cut();
  const waiting = await stateOf("waiting");
  assert.ok(waiting.kind === "waiting" && waiting.retryInMs >= 7_000);
  const other = await setUp(t);
  const next = await other.open();
  next.send({ case: "kick", value: { code: CloseCode.REPLACED, action: STAY_CLOSED } });
  await other.frames.next();
  next.cut();
  assert.deepEqual(await other.stateOf("closed"), { kind: "closed", reason: "replaced" });
});

test("a refused upgrade is retried after the back-off", { timeout: TIMEOUT }, async (t) => {
  let refusals = 3;
  const { session, backOff, welcomed } = await setUp(t, { refuses: () => refusals-- > 0 });
  session.start();
  const waits = [await backOff(), await backOff(), await backOff()];
  assert.deepEqual(waits, [500, 1_000, 2_000]);
  await welcomed();
});

test("sessions that a flaky line breaks are reopened soon, however often", {
  timeout: TIMEOUT,
}, async (t) => {
  let refusals = 4;
  const { session, clock, backOff, welcomed } = await setUp(t, { refuses: () => refusals-- > 0 });
  session.start();
  for (let n = 0; n < 4; n++) await backOff();
  for (let n = 0; n < 8; n++) {
    const peer = await welcomed();
    clock.advance(1_000);
    peer.cut();
    assert.equal(await backOff(), 500);
  }
  for (let n = 0; n < 3; n++) {
    (await welcomed()).cut();
    assert.equal(await backOff(), 500);
  }
});

test("a server that welcomes and fails at once is not hammered", {
  timeout: TIMEOUT,
}, async (t) => {
  const { session, backOff, welcomed } = await setUp(t);
  session.start();
  const waits = [];
  for (let n = 0; n < 8; n++) {
    (await welcomed()).cut();
    waits.push(await backOff());
  }
  assert.deepEqual(waits, [500, 500, 500, 1_000, 2_000, 4_000, 8_000, 16_000]);
});

test("a server that welcomes and closes soon is not hammered", { timeout: TIMEOUT }, async (t) => {
  const { session, clock, backOff, welcomed } = await setUp(t);
  session.start();
  const waits = [];
  for (let n = 0; n < 4; n++) {
    const peer = await welcomed();
    clock.advance(1_500);
    peer.close(1012);
    waits.push(await backOff());
  }
  assert.deepEqual(waits, [500, 1_000, 2_000, 4_000]);
});
