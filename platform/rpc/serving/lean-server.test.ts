import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { LinkFrameSchema } from "#gen/lucky/internal/link/v1/link_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { systemClock } from "#platform/clock.ts";
import { reasonOf } from "#platform/errors.ts";
import { createLog } from "#platform/log.ts";
import { leanLink } from "#platform/rpc/calling/lean-link.ts";
import { fixedTransport } from "#platform/rpc/calling/remote.ts";
import { MESH_HEADER } from "#platform/rpc/interceptors/access.ts";
import { LEAN_PREFACE } from "#platform/rpc/lean/lean-frames.ts";
import { GATEWAY_SECRET, SERVER_SECRET, testCallers } from "#platform/rpc/rpc.fixture.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { leanServer } from "./lean-server.ts";
import { closed, dial, start } from "./listen.fixture.ts";

const log = createLog({ service: "test", instanceId: "test-0", level: "silent" });
/** Options of a port for our own services. */
const MESH = { mesh: testCallers, graceMs: 100 };

const open = (secret: string) => {
  const kind = { case: "open" as const, value: { secret } };
  return toBinary(LinkFrameSchema, create(LinkFrameSchema, { kind }));
};

/** Opens a link with raw bytes. Resolves with all received bytes when the service has closed it. */
async function openWith(port: number, bytes: Uint8Array): Promise<Buffer> {
  const socket = connect(port, "127.0.0.1");
  const received: Buffer[] = [];
  socket.on("data", (chunk) => received.push(chunk)).on("error", () => {});
  socket.write(LEAN_PREFACE);
  socket.write(bytes);
  await once(socket, "close");
  return Buffer.concat(received);
}

function framed(bytes: Uint8Array, length = bytes.length): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(length);
  return Buffer.concat([head, bytes]);
}

test("a link with a wrong secret is closed, and so is one whose first frame is too large", async (t) => {
  const { port } = await start(t, MESH);
  const frame = open("another");
  assert.equal((await openWith(port, framed(frame))).length, 0);
  assert.equal((await openWith(port, framed(frame, 5_000))).length, 0);
});

test("calls of a link are those of the service that opened it, regardless of their headers", async (t) => {
  const service = { session: { checkUsers: () => ({ userIds: ["7"] }) } };
  const { address } = await start(t, { ...MESH, service });
  const headers = { [MESH_HEADER]: SERVER_SECRET };
  for (const [secret, outcome] of [
    [SERVER_SECRET, "7"],
    [GATEWAY_SECRET, "PERMISSION_DENIED"],
  ] as const) {
    const transport = fixedTransport({
      service: "auth",
      secret,
      log,
      clock: systemClock,
      address,
      lean: true,
    });
    t.after(() => transport.close());
    const call = createClient(SessionService, transport).checkUsers({}, { headers });
    const told = await call.then(
      ({ userIds }) => userIds.join(),
      (error: unknown) => ErrorReason[reasonOf(error)],
    );
    assert.equal(told, outcome);
  }
});

/** A lean server without protocol detection, and a clock moved by the test. */
async function startBare(t: TestContext) {
  const clock = new ManualClock();
  const lean = leanServer({ served: [], interceptors: [], mesh: testCallers, log, clock });
  const server = createServer((socket) => lean.take(socket));
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  /** Opens a connection; returns both of its ends. */
  const link = async () => {
    const [near, [far]] = await Promise.all([dial(port), once(server, "connection")]);
    t.after(() => near.destroy());
    return { near, far: far as Socket };
  };
  return { clock, link };
}

test("a link without a whole Open frame is closed after ten seconds, even if bytes keep arriving", async (t) => {
  const { clock, link } = await startBare(t);
  const { near, far } = await link();
  const gone = closed(near);
  for (const byte of framed(open("s".repeat(100))).subarray(0, 9)) {
    near.write(Buffer.from([byte]));
    await once(far, "data");
    clock.advance(1_000);
  }
  assert.equal(far.destroyed, false);
  clock.advance(1_000);
  await gone;
  assert.equal(clock.waiting, 0);
});

test("the oldest of too many unopened links is evicted, an open one stays", async (t) => {
  const { clock, link } = await startBare(t);
  const opened = await link();
  opened.near.write(framed(open(SERVER_SECRET)));
  await once(opened.far, "data");
  const links = [];
  for (let i = 0; i < 101; i++) links.push(await link());
  await closed(links[0]!.near);
  assert.equal(links.filter(({ far }) => far.destroyed).length, 1);
  clock.advance(10_000);
  await Promise.all(links.map(({ near }) => closed(near)));
  assert.equal(opened.far.destroyed, false);
});

test("a silent service times out even when the wall clock is set back", async (t) => {
  const mute = createServer((socket) => socket.on("error", () => {}).resume()).listen(0);
  t.after(() => mute.close());
  await once(mute, "listening");
  const { port } = mute.address() as AddressInfo;
  const clock = new ManualClock();
  const address = `http://127.0.0.1:${port}`;
  const link = leanLink({ service: "auth", address, secret: SERVER_SECRET, clock });
  t.after(() => link.close());
  const call = createClient(AuthService, { ...link, stream: assert.fail as never }).getJwks(
    {},
    { timeoutMs: 0 },
  );
  await once(mute, "connection");
  clock.step(-3_600_000);
  clock.advance(30_000);
  await assert.rejects(call, (error) => ConnectError.from(error).code === Code.Unavailable);
});

test("a link has a bound on calls in flight: one more is refused, the others are answered", async (t) => {
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  async function checkUsers() {
    await held;
    return { userIds: ["7"] };
  }
  const { address } = await start(t, { ...MESH, service: { session: { checkUsers } } });
  const common = { service: "auth", secret: SERVER_SECRET, log, clock: systemClock };
  const transport = fixedTransport({ ...common, address, lean: true });
  t.after(() => transport.close());
  const client = createClient(SessionService, transport);
  const calls = Array.from({ length: 10_000 }, () => client.checkUsers({}, { timeoutMs: 60_000 }));
  await assert.rejects(
    client.checkUsers({}, { timeoutMs: 60_000 }),
    (error) => reasonOf(error) === ErrorReason.OVERLOADED,
  );
  release();
  const answers = await Promise.all(calls);
  assert.ok(answers.every(({ userIds }) => userIds[0] === "7"));
});
