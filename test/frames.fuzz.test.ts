import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { ClientFrameSchema, CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { startConnectHarness } from "./connect/connect-harness.ts";
import { RawDevice } from "./devices/raw-device.ts";

const FRAMES = 100_000;
const SEED = 20_260_101;
const SOCKETS_AT_ONCE = 32;
/**
 * Frames sent in a row over one socket. Frames after the one that closes it reach a closed session.
 */
const BURST_FRAMES = 16;

/** Mulberry32: a small random generator with the same results on every machine. */
function generator(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const valid = toBinary(
  ClientFrameSchema,
  create(ClientFrameSchema, {
    kind: {
      case: "send",
      value: {
        target: { case: "userId", value: "12" },
        clientMessageId: "m1",
        content: { kind: { case: "text", value: { text: "to be cut and bent" } } },
      },
    },
  }),
);

/**
 * One frame that no client would send: random, cut off, with wrong types, of unknown kinds, or too
 * large.
 */
function badFrame(random: () => number, maxFrameBytes: number): Uint8Array<ArrayBuffer> {
  const below = (n: number) => Math.floor(random() * n);
  const noise = (length: number) => Uint8Array.from({ length }, () => below(256));
  switch (below(16)) {
    case 0:
      return new Uint8Array(maxFrameBytes + 1 + below(1_000));
    case 1:
    case 2:
      return Uint8Array.from(valid.subarray(0, below(valid.length)));
    case 3:
    case 4: {
      // A known field with a wrong wire type.
      const field = 1 + below(7);
      return Uint8Array.from([field * 8 + [0, 1, 3, 4, 5, 6, 7][below(7)]!, ...noise(below(12))]);
    }
    case 5:
    case 6: {
      // A known field with random content of the right length.
      const inside = noise(below(100));
      return Uint8Array.from([(1 + below(7)) * 8 + 2, inside.length, ...inside]);
    }
    case 7:
      return Uint8Array.from([(8 + below(7)) * 8 + 2, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]);
    case 8: {
      const flipped = Uint8Array.from(valid);
      for (let i = 1 + below(4); i > 0; i -= 1) flipped[below(flipped.length)] = below(256);
      return flipped;
    }
    default:
      return noise(below(64));
  }
}

const EXPECTED = new Set<number>([
  CloseCode.PROTOCOL_ERROR,
  CloseCode.FRAME_TOO_LARGE,
  CloseCode.TOKEN_INVALID,
]);

test(`${FRAMES} bad frames crash no process, reach no other session, and close their sockets with the right codes`, async (t) => {
  const maxFrameBytes = 4_096;
  const rate = { framesPerSecond: 1_000_000, framesBurst: 1_000_000 };
  const heartbeatIntervalMs = 300_000;
  const stand = await startConnectHarness(t, {
    config: { maxFrameBytes, heartbeatIntervalMs, ...rate },
  });
  const witness = await stand.device("999999");
  const random = generator(SEED);
  const codes = new Map<number, number>();
  let left = FRAMES;
  let users = 1;

  /** Sends bad frames over one socket after the other until all are used up. */
  async function sendBadFrames(): Promise<void> {
    while (left > 0) {
      const withSession = random() < 0.5;
      const device = withSession
        ? await stand.device(String(users++))
        : await RawDevice.open(stand.address);
      let open = true;
      void device.closed.then(() => {
        open = false;
      });
      while (open && left > 0) {
        const burst = Math.min(left, BURST_FRAMES);
        left -= burst;
        for (let i = 0; i < burst; i += 1) device.sendBytes(badFrame(random, maxFrameBytes));
        // The socket's answers up to here are reactions to these frames.
        if (withSession) await Promise.race([device.closed, device.roundTrip().catch(() => {})]);
        else await device.closed;
      }
      if (open) {
        await device.close();
        continue;
      }
      const { code } = await device.closed;
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
  }
  await Promise.all(Array.from({ length: SOCKETS_AT_ONCE }, sendBadFrames));

  for (const [code, count] of codes) {
    assert.ok(EXPECTED.has(code), `${count} sockets were closed with ${code}`);
  }
  await witness.roundTrip();
  assert.deepEqual(
    [witness.seen("deliver"), witness.seen("kick"), witness.seen("syncRequired")],
    [[], [], []],
  );
  assert.deepEqual(
    stand.events.filter(({ event }) => event === "socket_fault"),
    [],
  );
  assert.equal(stand.ready(), true);
});
