import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ReactionCountSchema } from "#gen/lucky/message/v1/content_pb.js";
import { emojiOf, expectedTally, tallyOf } from "./reaction-tally.ts";

test("the expected counts are those of the users who reacted, in any order of emojis", () => {
  for (const users of [0, 1, 2, 3, 7, 10_000]) {
    const counts = new Map<string, number>();
    for (let nth = 0; nth < users; nth++)
      counts.set(emojiOf(nth), (counts.get(emojiOf(nth)) ?? 0) + 1);
    const reported = [...counts]
      .map(([emoji, count]) => create(ReactionCountSchema, { emoji, count: BigInt(count) }))
      .reverse();
    assert.equal(tallyOf(reported), expectedTally(users));
  }
  assert.notEqual(expectedTally(9), expectedTally(10));
});
