import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { ManualClock } from "../test/clock/manual-clock.ts";
import { fail } from "./errors.ts";
import { createLog } from "./log.ts";

test("a line is one JSON object with service and instance, and credentials are redacted", () => {
  const lines: string[] = [];
  const stream = { write: (line: string) => void lines.push(line) };
  const log = createLog({ service: "auth", instanceId: "auth-0", level: "info", stream });
  log.debug({ event: "hidden" });
  log.info({ event: "login", token: "t", headers: { authorization: "a" } });
  assert.equal(lines.length, 1);
  const { time, ...line } = JSON.parse(lines[0]!);
  assert.ok(Number.isFinite(Date.parse(time)));
  assert.deepEqual(line, {
    level: "info",
    service: "auth",
    instanceId: "auth-0",
    event: "login",
    token: "***",
    headers: { authorization: "***" },
  });
});

test("texts from outside are cut: fields, nested fields, arrays, errors and their causes", () => {
  const long = "x".repeat(1024 * 1024);
  const cause = new Error(long);
  const errors = [
    cause,
    new AggregateError([cause], long),
    Object.assign(new Error("short"), { detail: long, body: Buffer.from(long) }),
    fail(ErrorReason.INVALID_ARGUMENT, long, { cause }),
  ];
  const lines: string[] = [];
  const stream = { write: (line: string) => void lines.push(line) };
  const log = createLog({ service: "auth", instanceId: "auth-0", level: "info", stream });
  log.info({ event: "field", name: long });
  log.info({ event: "nested", device: { name: long }, names: [long] });
  log.info({ event: "array", names: Array(10_000).fill("name") });
  for (const err of errors) log.info({ event: "error", err });
  for (const line of lines) assert.ok(line.length < 16_384, line.slice(0, 200));
  for (const line of lines.slice(3)) assert.match(JSON.parse(line).err.stack, /log\.test\.ts/);
  assert.equal(JSON.parse(lines[0]!).name, `${"x".repeat(509)}…`);
});

test("repeated warnings of one kind are bounded, and counted at the end of ten seconds", () => {
  const lines: string[] = [];
  const stream = { write: (line: string) => void lines.push(line) };
  const clock = new ManualClock();
  const log = createLog({ service: "auth", instanceId: "auth-0", level: "info", stream, clock });
  const events = () =>
    lines.splice(0).map((line) => {
      const { level, event, job, of, suppressed } = JSON.parse(line);
      return [level, event, job, of, suppressed].filter((field) => field !== undefined).join(" ");
    });
  for (let i = 0; i < 100; i++) log.warn({ event: "job_failed", job: "a", err: new Error(`${i}`) });
  log.child({ part: "b" }).error({ event: "job_failed", job: "b" });
  for (let i = 0; i < 7; i++) log.info({ event: "session_end" });
  assert.deepEqual(events(), [
    ...Array(5).fill("warn job_failed a"),
    "error job_failed b",
    ...Array(7).fill("info session_end"),
  ]);
  clock.advance(10_000);
  assert.deepEqual(events(), ["warn lines_suppressed a job_failed 95"]);
  log.warn({ event: "job_failed", job: "a" });
  assert.deepEqual(events(), ["warn job_failed a"]);
});

test("beyond a thousand kinds of warnings, further ones are counted together", () => {
  const lines: string[] = [];
  const stream = { write: (line: string) => void lines.push(line) };
  const clock = new ManualClock();
  const log = createLog({ service: "auth", instanceId: "auth-0", level: "info", stream, clock });
  for (let i = 0; i < 1_100; i++) log.warn({ event: "failed", queue: `${i}` });
  assert.equal(lines.length, 1_005);
  clock.advance(10_000);
  assert.match(lines.at(-1)!, /"event":"lines_suppressed","of":"others","suppressed":95}/);
});
