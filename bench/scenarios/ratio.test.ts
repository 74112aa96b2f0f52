import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { wholeBench } from "../runs/bench.ts";
import ratio, { readSettings, runBench, splitArguments } from "./ratio.ts";

test("flags of the comparison may precede and follow the scenario", () => {
  const expected = {
    own: ["--against", "eb84e8b", "--pairs=1"],
    scenario: "messages",
    passed: ["--rate", "1000"],
  };
  const orders = [
    "--against eb84e8b --pairs=1 messages --rate 1000",
    "messages --against eb84e8b --rate 1000 --pairs=1",
  ];
  for (const args of orders) assert.deepEqual(splitArguments(args.split(" ")), expected);
});

test("a switch of the comparison takes no value", () => {
  assert.deepEqual(splitArguments("--against HEAD --together messages --rate 1000".split(" ")), {
    own: ["--against", "HEAD", "--together"],
    scenario: "messages",
    passed: ["--rate", "1000"],
  });
});

const refused: [args: string, says: RegExp][] = [
  ["messages", /--against <git ref> is missing: npm run bench/],
  ["messages --against", /--against/],
  ["--against HEAD", /the scenario is missing \(messages, fanout, sync\)/],
  ["--against HEAD growth", /"growth" cannot be compared: only messages, fanout, sync report/],
  ["--against HEAD nonsense", /"nonsense" cannot be compared/],
  ["--against HEAD messages --nonsense 1", /--nonsense/],
  ["--against HEAD messages --rate", /--rate/],
  ["--against HEAD --pairs 0 messages", /--pairs must be a number, at least 1/],
  ["--against HEAD --pairs 1.5 messages", /--pairs must be a whole number/],
  ["--against no-such-ref messages", /this repository has no commit "no-such-ref"|needs git/],
  ["--against=--all messages", /this repository has no commit "--all"|needs git/],
];

for (const [args, says] of refused) {
  test(`"ratio ${args}" is refused with an error for the user before a run starts`, async () => {
    await assert.rejects(ratio.run(args.split(" "), wholeBench), says);
  });
}

/** A checkout whose bench/main.ts has this source. */
async function checkoutOf(t: TestContext, source: string): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "lucky-ratio-test-"));
  t.after(() => rm(root, { recursive: true, force: true }));
  await mkdir(join(root, "bench"));
  await writeFile(join(root, "package.json"), '{"type":"module"}');
  await writeFile(join(root, "bench/main.ts"), source);
  return root;
}

const FIGURES = '{"delivered_per_s":5,"cpu_us_per_message":{"all":7}}';

test("a run returns the figures of its last line, even when the generator was the bottleneck", async (t) => {
  const source = `console.log("a table"); console.log('${FIGURES}'); process.exitCode = 2;`;
  const root = await checkoutOf(t, source);
  assert.deepEqual(await runBench(root, ["messages"]), JSON.parse(FIGURES));
});

test("a failed run is an error with all of its output", async (t) => {
  const source = `console.log('${FIGURES}'); console.error("1 was lost"); process.exitCode = 1;`;
  const root = await checkoutOf(t, source);
  await assert.rejects(runBench(root, ["messages", "--rate", "9"]), ({ message }: Error) => {
    assert.match(message, /^messages --rate 9 in .* failed \(1\):\n/);
    assert.match(message, /"delivered_per_s":5/);
    assert.match(message, /1 was lost/);
    return true;
  });
});

test("a run without the compared figures is an error that names them", async (t) => {
  const root = await checkoutOf(t, `console.log('{"delivered_per_s":5}');`);
  await assert.rejects(runBench(root, ["sync"]), /did not report server_cpu_us_per_message:/);
  const silent = await checkoutOf(t, `console.log("no JSON");`);
  await assert.rejects(runBench(silent, ["sync"]), /printed no figures:\nno JSON/);
});

test("settings of one side are read, and other words are refused", () => {
  const settings = { LUCKY_OTLP_URL: "http://a:1/?b=c", LUCKY_TRACE_ONE_IN: "9" };
  assert.deepEqual(readSettings(" LUCKY_OTLP_URL=http://a:1/?b=c  LUCKY_TRACE_ONE_IN=9"), settings);
  assert.deepEqual(readSettings(""), {});
  for (const text of ["LUCKY_A", "PATH=/bin", "LUCKY_A=1 b=2"])
    assert.throws(() => readSettings(text), /is not LUCKY_<NAME>=<value>/);
});
