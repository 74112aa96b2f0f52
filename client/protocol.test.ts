import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { ClientFrameSchema, ServerFrameSchema } from "../gen/lucky/frame/v1/frame_pb.js";

/** The bytes of the annotated example whose first line starts with `start`. */
function example(page: string, start: string): Uint8Array {
  const from = page.indexOf(start);
  assert.notEqual(from, -1, `docs/protocol.md has no example ${start}`);
  const lines = page.slice(from, page.indexOf("```", from)).split("\n");
  const hex = lines.map((line) => /^\s*((?:[0-9a-f]{2} ?)+)(?: {2}|$)/.exec(line)?.[1] ?? "");
  return new Uint8Array(Buffer.from(hex.join("").replaceAll(" ", ""), "hex"));
}

const page = readFileSync(new URL("../docs/protocol.md", import.meta.url), "utf8");

test("the example bytes in docs/protocol.md decode to the frames described there", () => {
  const send = fromBinary(ClientFrameSchema, example(page, "12 0f")).kind;
  assert.ok(send.case === "send");
  assert.deepEqual(send.value.target, { case: "userId", value: "300" });
  assert.equal(send.value.clientMessageId, "m1");
  const content = send.value.content?.kind;
  assert.equal(content?.case === "text" && content.value.text, "hi");

  const results = fromBinary(ServerFrameSchema, example(page, "12 15")).kind;
  assert.ok(results.case === "sendResults");
  const [result] = results.value.results;
  assert.ok(result?.outcome.case === "accepted");
  assert.equal(result.outcome.value.acceptedAtMs, 1_767_225_600_000n);
  assert.equal(result.outcome.value.messageId, "9");

  const [acknowledge, heartbeat] = ["1a 06 0a", "32 00"].map((start) => {
    const line = page.slice(page.indexOf(start)).split("\n")[0]!;
    return fromBinary(ClientFrameSchema, example(`${line}\n\`\`\``, start)).kind;
  });
  assert.ok(acknowledge?.case === "acknowledge");
  assert.equal(acknowledge.value.cursors[0]?.deliveredSequence, 1n);
  assert.equal(heartbeat?.case, "heartbeat");
});
