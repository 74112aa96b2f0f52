import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ConfigError, defineConfig, setting } from "./config.ts";
import { loadConfig } from "./load-config.ts";
import { MAX_SECRET_FILE_BYTES } from "./secret-file.ts";

const server = defineConfig("server", {
  port: setting.integer({ default: 8085, min: 0, max: 65535, doc: "Port." }),
  password: setting.text({ default: "", secret: true, minLength: 8, doc: "A secret." }),
  keys: setting.list({ default: [], secret: true, doc: "Secrets." }),
});
const SECRET = "hunter2 is a secret";

/** Writes a file with this content to a folder of its own. Returns its path. */
function secretIn(t: TestContext, content: string | Uint8Array): string {
  const folder = mkdtempSync(join(tmpdir(), "lucky-secret-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "secret");
  writeFileSync(path, content);
  return path;
}

function load(env: Record<string, string>, required: readonly ("password" | "keys")[] = []) {
  return loadConfig({ server }, { env, required: { server: required } }).server;
}

function faultsOf(env: Record<string, string>): readonly string[] {
  try {
    load(env, ["password"]);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    assert.ok(!error.message.includes("hunter2"), error.message);
    return error.faults;
  }
  assert.fail("the configuration was accepted");
}

test("a secret is read from the file that its variable with _FILE names, without the last newline", (t) => {
  for (const newline of ["", "\n", "\r\n"]) {
    const path = secretIn(t, `${SECRET}${newline}`);
    assert.equal(load({ LUCKY_SERVER_PASSWORD_FILE: path }, ["password"]).password, SECRET);
  }
  const keys = secretIn(t, "one, two\n");
  assert.deepEqual(load({ LUCKY_SERVER_KEYS_FILE: keys }).keys, ["one", "two"]);
  assert.equal(load({ LUCKY_SERVER_PASSWORD_FILE: "" }).password, "");
});

test("a secret in both its variable and its file is one fault, which names both", (t) => {
  const env = {
    LUCKY_SERVER_PASSWORD: SECRET,
    LUCKY_SERVER_PASSWORD_FILE: secretIn(t, "another hunter2"),
  };
  assert.deepEqual(faultsOf(env), [
    "LUCKY_SERVER_PASSWORD and LUCKY_SERVER_PASSWORD_FILE are both set: remove one",
  ]);
});

test("a file without a usable secret is one fault, with its path and never with its content", (t) => {
  const empty = secretIn(t, "\n");
  const folder = `${empty}-folder`;
  mkdirSync(folder);
  const large = secretIn(t, `hunter2${"x".repeat(MAX_SECRET_FILE_BYTES)}`);
  const binary = secretIn(t, Buffer.from([...Buffer.from("hunter2"), 0xff]));
  const cases = [
    ["/nowhere/secret", "cannot be read: ENOENT"],
    [folder, "cannot be read: EISDIR"],
    [empty, "is empty"],
    [large, "has more than 65536 bytes"],
    [binary, "is not text in UTF-8"],
    ["/dev/zero", "has more than 65536 bytes"],
  ] as const;
  for (const [path, fault] of cases)
    assert.deepEqual(faultsOf({ LUCKY_SERVER_PASSWORD_FILE: path }), [
      `LUCKY_SERVER_PASSWORD_FILE: ${path} ${fault}`,
    ]);
});

test("a fault of a secret names its file", (t) => {
  const path = secretIn(t, "hunter2");
  assert.deepEqual(faultsOf({ LUCKY_SERVER_PASSWORD_FILE: path }), [
    `LUCKY_SERVER_PASSWORD_FILE (${path}) must have at least 8 characters`,
  ]);
});

test("a setting that is no secret has no file", () => {
  const password = { LUCKY_SERVER_PASSWORD: SECRET };
  assert.deepEqual(faultsOf({ ...password, LUCKY_SERVER_PORT_FILE: "/port" }), [
    "LUCKY_SERVER_PORT_FILE is unknown: only secrets are read from files; use LUCKY_SERVER_PORT",
  ]);
});
