import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";

const module = JSON.stringify(join(import.meta.dirname, "process.ts"));

/** Runs a program of its own around runProcess. */
function run(t: TestContext, start: string) {
  const program = `import { runProcess } from ${module};
    const idle = setInterval(() => {}, 1000);
    const say = (what) => process.stdout.write(what + "\\n");
    runProcess(async () => { ${start} });`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program]);
  t.after(() => child.kill("SIGKILL"));
  const errors = text(child.stderr);
  const exit = once(child, "exit");
  let output = "";
  let heard = Promise.withResolvers<void>();
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    output += part;
    heard.resolve();
    heard = Promise.withResolvers();
  });
  return {
    child,
    errors,
    exit,
    async said(what: string): Promise<void> {
      while (!output.includes(what)) {
        await Promise.race([heard.promise, exit]);
        const over = child.exitCode !== null || child.signalCode !== null;
        if (over && !output.includes(what)) assert.fail(`ended: ${output}${await errors}`);
      }
    },
  };
}

test("a signal stops the process, which exits with 0", async (t) => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    const { child, exit, said } = run(t, `say("up"); return { stop: async () => say("stopped") };`);
    await said("up");
    child.kill(signal);
    await said("stopped");
    assert.deepEqual(await exit, [0, null]);
  }
});

test("a second signal ends the process at once", async (t) => {
  const { child, exit, said } = run(
    t,
    `say("up"); return { stop: () => { say("stopping"); return new Promise(() => {}); } };`,
  );
  await said("up");
  child.kill("SIGTERM");
  await said("stopping");
  child.kill("SIGTERM");
  assert.deepEqual(await exit, [143, null]);
});

test("a start that fails says why, plainly, and exits with 1", async (t) => {
  const { exit, errors } = run(t, `throw new Error("the port is taken");`);
  assert.deepEqual(await exit, [1, null]);
  assert.match(await errors, /^the port is taken$/m);
  assert.doesNotMatch(await errors, /\n +at /);

  const errorsModule = JSON.stringify(join(import.meta.dirname, "../errors.ts"));
  const away = run(
    t,
    `const { fail } = await import(${errorsModule}); throw fail(9, "the registry is away");`,
  );
  assert.deepEqual(await away.exit, [1, null]);
  assert.match(await away.errors, /^the registry is away$/m);
  assert.doesNotMatch(await away.errors, /\n +at /);
});

test("a fault of the program shows where it is", async (t) => {
  const { exit, errors } = run(t, "undefined.x;");
  assert.deepEqual(await exit, [1, null]);
  assert.match(await errors, /TypeError: .*\n +at /);
});

test("a stop that fails exits with 1", async (t) => {
  const { child, exit, said, errors } = run(
    t,
    `say("up"); return { stop: async () => { throw new Error("stuck"); } };`,
  );
  await said("up");
  child.kill("SIGTERM");
  assert.deepEqual(await exit, [1, null]);
  assert.match(await errors, /stopping failed: Error: stuck/);
});
