import assert from "node:assert/strict";
import { test } from "node:test";
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
