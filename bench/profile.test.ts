import assert from "node:assert/strict";
import { test } from "node:test";
import { topFunctions } from "./profile.ts";

const frame = (functionName: string, url = "", lineNumber = -1) => ({
  functionName,
  url,
  lineNumber,
});

test("time is summed by function, the largest first", () => {
  const profile = {
    nodes: [
      { id: 1, callFrame: frame("(idle)") },
      { id: 2, callFrame: frame("append", new URL("../a.ts", import.meta.url).href, 9) },
      { id: 3, callFrame: frame("append", new URL("../a.ts", import.meta.url).href, 9) },
      { id: 4, callFrame: frame("", "node:net", 0) },
    ],
    samples: [1, 2, 3, 4, 2],
    timeDeltas: [1_000, 2_000, 3_000, 500, 1_500],
  };
  assert.deepEqual(topFunctions(profile, 2), [
    ["append a.ts:10", 6.5],
    ["(idle)", 1],
  ]);
  assert.equal(topFunctions(profile, 9).at(-1)![0], "(anonymous) node:net:1");
});
