import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { ServerFrameSchema } from "../../gen/lucky/frame/v1/frame_pb.js";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { Connection } from "./connection.ts";

/** A WebSocket whose peer never answers a close. */
class DeafSocket extends EventTarget {
  readonly OPEN = 1;
  readyState = 1;
  binaryType = "";
  send(): void {}
  close(): void {
    this.readyState = 2;
  }
}

test("a Welcome that races with a close is ignored, and the connection ends", async () => {
  const clock = new ManualClock();
  const socket = new DeafSocket();
  let welcomed = false;
  const connection = new Connection({
    url: "ws://localhost",
    webSocket: function open() {
      return socket;
    } as unknown as typeof WebSocket,
    clock,
    accessToken: "token",
    clientVersion: "",
    welcome: () => {
      welcomed = true;
    },
    frame: () => {},
  });
  const closed = connection.close();
  const kind = { case: "welcome" as const, value: { heartbeatIntervalMs: 1_000n } };
  const frame = toBinary(ServerFrameSchema, create(ServerFrameSchema, { kind }));
  socket.dispatchEvent(new MessageEvent("message", { data: frame.slice().buffer }));
  clock.advance(2_000);
  const outcome = await Promise.race([closed, new Promise((resolve) => setImmediate(resolve))]);
  assert.deepEqual(outcome, { code: 1000, text: "", openedAtMs: undefined });
  assert.equal(welcomed, false);
});
