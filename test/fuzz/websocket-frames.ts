import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { ClientFrameSchema, CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { RawDevice } from "../devices/raw-device.ts";
import { text } from "../world/people.ts";
import type { Attack, Victim } from "./attack.ts";
import { Finding, within } from "./finding.ts";
import { mutate, type Random } from "./random.ts";
import { badRequest } from "./requests.ts";

const FRAMES = 16;
/** Above LUCKY_CONNECT_MAX_FRAME_BYTES of the target. */
const TOO_LARGE_BYTES = 4_097;

type Kind = MessageInitShape<typeof ClientFrameSchema>["kind"];

/** A valid frame of each kind. */
function validFrame(random: Random, { token, userId }: Victim): Uint8Array {
  const target = { case: "userId" as const, value: userId };
  const clientMessageId = `m${random.below(1_000)}`;
  const { name, bytes } = badRequest(random, "proto", userId);
  const kinds: Kind[] = [
    { case: "hello", value: { accessToken: token } },
    { case: "send", value: { target, clientMessageId, content: text("to be cut and bent") } },
    { case: "acknowledge", value: { cursors: [{ conversationId: "7", deliveredSequence: 1n }] } },
    { case: "typing", value: { conversationId: "7", typing: true } },
    { case: "rpc", value: { callId: "1", method: name, request: bytes } },
    { case: "heartbeat", value: {} },
    { case: "renew", value: { accessToken: token } },
  ];
  return toBinary(ClientFrameSchema, create(ClientFrameSchema, { kind: random.pick(kinds) }));
}

/** A frame with wrong types, of unknown kinds, too large, or a valid one with a fault in its bytes. */
function badFrame(random: Random, victim: Victim): Buffer {
  switch (random.below(12)) {
    case 0:
      return Buffer.alloc(TOO_LARGE_BYTES + random.below(1_000));
    case 1: {
      // A known field with a wrong wire type.
      const tag = (1 + random.below(7)) * 8 + random.pick([0, 1, 3, 4, 5, 6, 7]);
      return Buffer.concat([Buffer.of(tag), random.bytes(random.below(12))]);
    }
    case 2: {
      // A known field with random content of the right length.
      const inside = random.bytes(random.below(100));
      return Buffer.concat([Buffer.of((1 + random.below(7)) * 8 + 2, inside.length), inside]);
    }
    case 3:
      return Buffer.of((8 + random.below(7)) * 8 + 2, ...Array(7).fill(0x80));
    case 4:
      return random.bytes(random.below(64));
    default:
      return mutate(random, validFrame(random, victim));
  }
}

/** Codes with which a bad frame may close its own session; 1006: a frame far above the bound. */
const EXPECTED = new Set<number>([
  1005,
  1006,
  CloseCode.PROTOCOL_ERROR,
  CloseCode.FRAME_TOO_LARGE,
  CloseCode.TOKEN_INVALID,
  CloseCode.RATE_LIMITED,
]);

/** Frames that no client would send, in well-formed WebSocket messages, with and without a session. */
export const websocketFrames: Attack = {
  name: "WebSocket frames",
  inputs: FRAMES,
  async run(random, victim) {
    const { target, token } = victim;
    const address = random.once(4) ? target.url : target.connectUrl;
    const frames = Array.from({ length: FRAMES }, () => badFrame(random, victim));
    const input = `frames: ${frames.map((frame) => frame.toString("base64")).join(" ")}`;
    const hasSession = random.once(2);
    const device = await (hasSession
      ? RawDevice.hello(address, token)
      : RawDevice.open(address)
    ).catch((cause: Error) => {
      throw new Finding(`no session: ${cause.message}`, { cause });
    });
    for (const frame of frames) device.sendBytes(Uint8Array.from(frame));
    // The answers up to here are reactions to these frames.
    if (hasSession) {
      const reaction = Promise.race([device.closed, device.roundTrip().catch(() => {})]);
      await within(reaction, input);
      requireNoInternal(device, input);
      await within(device.close(), input);
    }
    const { code, reason } = await within(device.closed, input);
    if (!EXPECTED.has(code)) throw new Finding(`closed with ${code} ${reason} after ${input}`);
  },
};

function requireNoInternal(device: RawDevice, input: string): void {
  const reasons = [
    ...device
      .seen("rpcResult")
      .map(({ outcome }) => (outcome.case === "error" ? outcome.value.error?.reason : undefined)),
    ...device
      .seen("sendResults")
      .flatMap(({ results }) => results)
      .map(({ outcome }) => (outcome.case === "refused" ? outcome.value.error?.reason : undefined)),
  ];
  if (reasons.includes(ErrorReason.INTERNAL)) throw new Finding(`an INTERNAL answer to ${input}`);
}
