import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { ServerFrameSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { ListEntriesResponseSchema, SyncResponseSchema } from "#gen/lucky/message/v1/message_pb.js";
import { Generators } from "./generators.ts";

const switching = [
  "HTTP/1.1 101 Switching Protocols",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
  "\r\n",
].join("\r\n");

/** A server's WebSocket message. */
function framed(kind: MessageInitShape<typeof ServerFrameSchema>["kind"]): Buffer {
  const payload = toBinary(ServerFrameSchema, create(ServerFrameSchema, { kind: kind! }));
  assert.ok(payload.length < 126, "short frames only");
  return Buffer.concat([Buffer.from([0x82, payload.length]), payload]);
}

function answer(response: Uint8Array<ArrayBuffer>): Buffer {
  const outcome = { case: "response", value: response } as const;
  return framed({ case: "rpcResult", value: { callId: "1", outcome } });
}

const synced = (lastSequence: bigint) => {
  const conversations = [{ conversationId: "7", lastSequence }];
  return answer(toBinary(SyncResponseSchema, create(SyncResponseSchema, { conversations })));
};

const listed = (...sequences: bigint[]) => {
  const entries = sequences.map((sequence) => ({ conversationId: "7", sequence }));
  return answer(
    toBinary(ListEntriesResponseSchema, create(ListEntriesResponseSchema, { entries })),
  );
};

/** Lets a device catch up at a server that gives these answers, and then drops the connection. */
async function catchUp(t: TestContext, ...answers: Buffer[]) {
  const steps = [Buffer.from(switching), framed({ case: "welcome", value: {} }), ...answers];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    // The device waits for each answer, so each chunk is exactly one frame.
    socket.on("data", () => {
      const step = steps.shift();
      if (step) socket.write(step);
      else socket.destroy();
    });
    socket.on("error", () => {});
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const setup = { dialect: "lucky", text: "", shared: false, acknowledgeMs: 0 } as const;
  const generators = await Generators.start(1, setup);
  t.after(() => {
    generators.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  // Index 9 sends its first heartbeat after ten seconds only.
  await generators.open([{ index: 9, url, token: "t" }]);
  const { entries, lost, duplicated, outOfOrder, failures } = await generators.sync(1);
  return { entries, lost, duplicated, outOfOrder, failures };
}

test("pages are fetched to the end, and lost, duplicate and misplaced entries are counted", async (t) => {
  assert.deepEqual(await catchUp(t, synced(6n), listed(1n, 2n, 2n), listed(5n, 4n, 6n)), {
    entries: 5,
    lost: 1,
    duplicated: 1,
    outOfOrder: 1,
    failures: {},
  });
});

test("an empty page before the end of the log ends the fetching", async (t) => {
  const { lost, failures } = await catchUp(t, synced(4n), listed(1n, 2n), listed());
  assert.deepEqual({ lost, failures }, { lost: 2, failures: {} });
});

test("a session that ends during a call fails the call, and the remaining entries are lost", async (t) => {
  assert.deepEqual(await catchUp(t, synced(4n), listed(1n, 2n)), {
    entries: 2,
    lost: 2,
    duplicated: 0,
    outOfOrder: 0,
    failures: { "the session ended with 1006": 1 },
  });
});
