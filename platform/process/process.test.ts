import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";

const module = JSON.stringify(join(import.meta.dirname, "process.ts"));

/** Runs runProcess in a child process. */
function run(t: TestContext, start: string) {
  const program = `import { runProcess } from ${module};
    const idle = setInterval(() => {}, 1000);
    const say = (what) => process.stdout.write(what + "\\n");
    runProcess(async (stopping) => { ${start} });`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program]);
  t.after(() => child.kill("SIGKILL"));
  const errors = text(child.stderr);
  const exit = once(child, "exit");
  let output = "";
  let received = Promise.withResolvers<void>();
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    output += part;
    received.resolve();
    received = Promise.withResolvers();
  });
  return {
    child,
    errors,
    exit,
    async waitFor(what: string): Promise<void> {
      while (!output.includes(what)) {
        await Promise.race([received.promise, exit]);
        const exited = child.exitCode !== null || child.signalCode !== null;
        if (exited && !output.includes(what)) assert.fail(`exited: ${output}${await errors}`);
      }
    },
  };
}

test("a signal stops the process, which exits with 0", async (t) => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    const { child, exit, waitFor } = run(
      t,
      `say("up"); return { stop: async () => say("stopped") };`,
    );
    await waitFor("up");
    child.kill(signal);
    await waitFor("stopped");
    assert.deepEqual(await exit, [0, null]);
  }
});

test("a second signal exits the process at once", async (t) => {
  const { child, exit, waitFor } = run(
    t,
    `say("up"); return { stop: () => { say("stopping"); return new Promise(() => {}); } };`,
  );
  await waitFor("up");
  child.kill("SIGTERM");
  await waitFor("stopping");
  child.kill("SIGTERM");
  assert.deepEqual(await exit, [143, null]);
});

test("a failed start prints its reason without a stack and exits with 1", async (t) => {
  const { exit, errors } = run(t, `throw new Error("the port is taken");`);
  assert.deepEqual(await exit, [1, null]);
  assert.match(await errors, /^the port is taken$/m);
  assert.doesNotMatch(await errors, /\n +at /);

  const errorsModule = JSON.stringify(join(import.meta.dirname, "../errors.ts"));
  const unavailable = run(
    t,
    `const { fail } = await import(${errorsModule}); throw fail(9, "the registry is unavailable");`,
  );
  assert.deepEqual(await unavailable.exit, [1, null]);
  assert.match(await unavailable.errors, /^the registry is unavailable$/m);
  assert.doesNotMatch(await unavailable.errors, /\n +at /);
});

test("a bug in the program prints its stack", async (t) => {
  const { exit, errors } = run(t, "undefined.x;");
  assert.deepEqual(await exit, [1, null]);
  assert.match(await errors, /TypeError: .*\n +at /);
});

test("a stop that fails exits with 1", async (t) => {
  const { child, exit, waitFor, errors } = run(
    t,
    `say("up"); return { stop: async () => { throw new Error("stuck"); } };`,
  );
  await waitFor("up");
  child.kill("SIGTERM");
  assert.deepEqual(await exit, [1, null]);
  assert.match(await errors, /stopping failed: Error: stuck/);
});

test("a system that fails prints why, stops the rest, and exits with 1", async (t) => {
  const { exit, errors, waitFor } = run(
    t,
    `return {
      failed: Promise.resolve(new Error("the database has ended")),
      stop: async () => { say("stopped"); throw new Error("no database"); },
    };`,
  );
  await waitFor("stopped");
  assert.deepEqual(await exit, [1, null]);
  assert.equal(await errors, "the database has ended\n");
});

test("a signal ends a start that waits, and the process exits with 0 and prints nothing", async (t) => {
  const { child, exit, errors, waitFor } = run(
    t,
    `say("waits"); await new Promise((resolve) => stopping.addEventListener("abort", resolve));
    stopping.throwIfAborted();`,
  );
  await waitFor("waits");
  child.kill("SIGTERM");
  assert.deepEqual(await exit, [0, null]);
  assert.equal(await errors, "");
});

test("DNS look-ups have a short time-out, because the exit of a process waits for them", async (t) => {
  const lookups = `say(process.env.RES_OPTIONS); return { stop: async () => {} };`;
  await run(t, lookups).waitFor("timeout:1 attempts:2");
});
