import assert from "node:assert/strict";
import { test } from "node:test";
import { type Started, startAllOrNothing } from "./started.ts";

function steps(stopped: string[], ...names: string[]) {
  return async (started: Started): Promise<Started> => {
    for (const name of names) {
      if (name === "fails") throw new Error("the step failed");
      started.push(async () => {
        stopped.push(name);
        if (name.startsWith("bad")) throw new Error(`${name} does not stop`);
      });
    }
    return started;
  };
}

test("started parts are stopped once, the last first", async () => {
  const stopped: string[] = [];
  const started = await startAllOrNothing(steps(stopped, "a", "b", "c"));
  assert.deepEqual(stopped, []);
  await Promise.all([started.stop(), started.stop()]);
  assert.deepEqual(stopped, ["c", "b", "a"]);
});

test("a failed step stops the parts before it, and its error is rethrown", async () => {
  const stopped: string[] = [];
  await assert.rejects(startAllOrNothing(steps(stopped, "a", "bad", "fails", "never")), {
    message: "the step failed",
  });
  assert.deepEqual(stopped, ["bad", "a"]);
});

test("a part that fails to stop does not keep other parts running", async () => {
  const stopped: string[] = [];
  const started = await startAllOrNothing(steps(stopped, "a", "bad", "c"));
  await assert.rejects(started.stop(), { message: "bad does not stop" });
  assert.deepEqual(stopped, ["c", "bad", "a"]);
});

test("parts that do not stop in time are counted, and the parts before them are stopped", async () => {
  const stopped: string[] = [];
  const started = await startAllOrNothing(
    async (started) => {
      started.push(() => void stopped.push("first"));
      for (let i = 0; i < 2; i++) started.push(() => new Promise(() => {}));
      return started;
    },
    { stopMs: 1 },
  );
  await started.stop();
  assert.deepEqual(stopped, ["first"]);
  assert.equal(started.unfinished, 2);
});
