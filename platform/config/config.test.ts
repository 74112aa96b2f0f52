import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ConfigError, defaultsOf, defineConfig, setting, shownValue } from "./config.ts";
import { loadConfig } from "./load-config.ts";
import { migrateConfig, platformConfig } from "./settings.ts";

const shared = defineConfig("", {
  host: setting.text({ default: "0.0.0.0", doc: "Where to listen." }),
  secret: setting.text({ default: "", secret: true, minLength: 8, doc: "A secret." }),
});
const server = defineConfig("server", {
  port: setting.integer({ default: 8085, min: 0, max: 65535, doc: "Port." }),
  maxBatch: setting.integer({ min: 1, max: 512, unit: "sends", doc: "Batch." }),
  quorum: setting.bool({ default: false, doc: "Quorum." }),
  mode: setting.choice(["fast", "safe"], { default: "safe", doc: "Mode." }),
  names: setting.list({ default: [], doc: "Names." }),
});
const tables = { shared, server };

function file(t: TestContext, content: unknown): string {
  const folder = mkdtempSync(join(tmpdir(), "lucky-config-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "lucky.json");
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

function faults(load: () => unknown): readonly string[] {
  try {
    load();
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    for (const fault of error.faults) assert.ok(error.message.includes(fault));
    return error.faults;
  }
  assert.fail("the configuration was accepted");
}

test("the environment overrides the file, and the file overrides the default", (t) => {
  const path = file(t, {
    host: "::1",
    server: { port: 1, maxBatch: 2, names: ["a"], mode: "fast" },
  });
  const env = {
    LUCKY_SETTINGS_FILE: path,
    LUCKY_SERVER_PORT: "3",
    LUCKY_SERVER_QUORUM: "true",
    LUCKY_SERVER_NAMES: "",
    PATH: "/bin",
  };
  assert.deepEqual(loadConfig(tables, { env }), {
    shared: { host: "::1", secret: "" },
    server: { port: 3, maxBatch: 2, quorum: true, mode: "fast", names: ["a"] },
  });
});

test("a list in the environment is separated by commas", () => {
  const env = { LUCKY_SERVER_MAX_BATCH: "1", LUCKY_SERVER_NAMES: "a, b" };
  assert.deepEqual(loadConfig(tables, { env }).server.names, ["a", "b"]);
});

test("one error lists all faults, and a secret does not appear in it", (t) => {
  const path = file(t, { hsot: "x", server: { mode: "slow", maxbatch: 1, names: "a" } });
  const env = {
    LUCKY_SERVER_PORT: "70000",
    LUCKY_SERVER_QUORUM: "maybe",
    LUCKY_SECRET: "short",
    LUCKY_SERVER_PROT: "1",
    LUCKY_OTHER_PORT: "1",
  };
  const found = faults(() => loadConfig(tables, { env, file: path }));
  assert.deepEqual(
    [...found].sort(),
    [
      `${path}: hsot is unknown: did you mean host?`,
      `${path}: server.maxbatch is unknown: did you mean server.maxBatch?`,
      `${path}: server.mode must be one of fast, safe, not "slow"`,
      `${path}: server.names must be a list of texts, not "a"`,
      "LUCKY_OTHER_PORT is unknown",
      "LUCKY_SECRET must have at least 8 characters",
      "LUCKY_SERVER_MAX_BATCH is missing",
      "LUCKY_SERVER_PORT must be from 0 to 65535, not 70000",
      "LUCKY_SERVER_PROT is unknown: did you mean LUCKY_SERVER_PORT?",
      'LUCKY_SERVER_QUORUM must be true or false, not "maybe"',
    ].sort(),
  );
});

test("URLs are checked, and a fault names the setting and the item, not the secret", () => {
  const load = (env: Record<string, string>) =>
    loadConfig(
      { platform: platformConfig, migrate: migrateConfig },
      { env, others: ["limits", "gateway", "auth", "connect", "server"] },
    );
  const good = "postgres://u:p@h:5432/lucky";
  const wrong = [
    "localhost:5432/lucky",
    "postgresql://u:se#cret@h/lucky",
    "postgresql://h:99999/x",
  ];
  for (const url of wrong) {
    for (const name of ["LUCKY_POSTGRES_URL", "LUCKY_MIGRATE_POSTGRES_URL"])
      assert.deepEqual(
        faults(() => load({ [name]: url })),
        [
          `${name} must be a URL of PostgreSQL, such as postgresql://user:password@host:5432/database`,
        ],
      );
    for (const name of ["LUCKY_POSTGRES_LOG_URLS", "LUCKY_MIGRATE_POSTGRES_LOG_URLS"])
      assert.deepEqual(
        faults(() => load({ [name]: `${good},${url}` })),
        [
          `${name} must be a list of at most 32 URLs of PostgreSQL, such as postgresql://user:password@host:5432/database: check item 2`,
        ],
      );
  }
  for (const name of ["LUCKY_REDIS_URL", "LUCKY_RABBITMQ_URL"])
    assert.match(faults(() => load({ [name]: good }))[0] ?? "", /must be a URL of R/);
  const urls = (count: number) => new Array(count).fill(good).join();
  assert.equal(load({ LUCKY_POSTGRES_LOG_URLS: urls(32) }).platform.postgresLogUrls.length, 32);
  assert.deepEqual(
    faults(() => load({ LUCKY_POSTGRES_LOG_URLS: urls(33) })),
    ["LUCKY_POSTGRES_LOG_URLS must be a list of at most 32 URLs of PostgreSQL"],
  );
});

test("numbers that are not whole are faults", () => {
  for (const port of ["1.5", "0x10", "1e3", "eins", "99999999999999999999"]) {
    const env = { LUCKY_SERVER_PORT: port, LUCKY_SERVER_MAX_BATCH: "1" };
    assert.match(faults(() => loadConfig(tables, { env }))[0] ?? "", /^LUCKY_SERVER_PORT must be/);
  }
});

test("settings of other processes are ignored, settings of no process are faults", (t) => {
  const path = file(t, { connect: { port: 1 }, conect: {} });
  const env = {
    LUCKY_CONNECT_PORT: "1",
    LUCKY_CONECT_PORT: "1",
    LUCKY_SERVER_MAX_BATCH: "1",
    LUCKY_SERVER_X: "1",
  };
  const others = ["connect", "server"];
  assert.deepEqual(
    faults(() => loadConfig(tables, { env, file: path, others })),
    [
      "LUCKY_CONECT_PORT is unknown",
      "LUCKY_SERVER_X is unknown",
      `${path}: conect is unknown: did you mean connect?`,
    ],
  );
});

test("a process can require a setting that its table allows to be empty", () => {
  const env = { LUCKY_SERVER_MAX_BATCH: "1" };
  const load = () => loadConfig(tables, { env, required: { shared: ["secret"] } });
  assert.deepEqual(faults(load), ["LUCKY_SECRET is missing"]);
});

test("a process can require that one of two tables has a setting", () => {
  const own = defineConfig("own", { host: setting.text({ default: "", doc: "Where." }) });
  const two = { shared: defineConfig("", own.settings), own };
  const load = (env: Record<string, string>) =>
    loadConfig(two, { env, oneOf: { key: "host", tables: ["own", "shared"] } });
  assert.deepEqual(
    faults(() => load({})),
    ["LUCKY_OWN_HOST or LUCKY_HOST is missing"],
  );
  assert.equal(load({ LUCKY_HOST: "a" }).shared.host, "a");
  assert.equal(load({ LUCKY_OWN_HOST: "b" }).own.host, "b");
});

test("a file that is missing, empty, no YAML or no object is a fault, without its content", (t) => {
  const env = { LUCKY_SERVER_MAX_BATCH: "1" };
  const faultsOf = (path: string) => faults(() => loadConfig(tables, { env, file: path }));
  assert.deepEqual(faultsOf("/nowhere/lucky.json"), ["/nowhere/lucky.json cannot be read: ENOENT"]);
  const cases = [
    ["{", "line 1, column 2 is neither YAML nor JSON: MISSING_CHAR"],
    [
      "secret: hunter2\n secret: hunter2",
      "line 1, column 9 is neither YAML nor JSON: BLOCK_AS_IMPLICIT_KEY",
    ],
    ["host: a\nhost: b", "line 2, column 1 is neither YAML nor JSON: DUPLICATE_KEY"],
    ["host: *hunter2", "has an alias without its anchor, or too many aliases"],
    ["# nothing", "is empty: write {} for no settings"],
    ["[]", "must hold one object"],
    ["server: 1", "server must be an object"],
  ] as const;
  for (const [content, fault] of cases) {
    const path = file(t, content);
    const found = faultsOf(path);
    assert.ok(
      found.some((one) => one.includes(path) && one.includes(fault)),
      found.join("\n"),
    );
    assert.ok(!found.join().includes("hunter2"), found.join("\n"));
  }
});

test("a file in YAML has the same settings as one in JSON", (t) => {
  const env = {
    LUCKY_SETTINGS_FILE: file(t, "host: '::1'\nserver:\n  maxBatch: 2\n  names: [a]\n"),
  };
  const { shared: own, server: loaded } = loadConfig(tables, { env });
  assert.deepEqual([own.host, loaded.maxBatch, loaded.names], ["::1", 2, ["a"]]);
});

test("a secret that is set is shown as ***, other values as in the environment", () => {
  const { redisUrl, gatewaySecret, logLevel, opsPort } = platformConfig.settings;
  assert.equal(shownValue(redisUrl, "redis://:hunter2@host"), "***");
  assert.equal(shownValue(gatewaySecret, ["m".repeat(32)]), "***");
  assert.equal(shownValue(redisUrl, ""), "");
  assert.equal(shownValue(gatewaySecret, []), "");
  assert.equal(shownValue(logLevel, "info"), "info");
  assert.equal(shownValue(opsPort, 9100), "9100");
  assert.equal(shownValue(server.settings.names, ["a", "b"]), "a,b");
});

test("defaults are refused for a table in which a setting has no default", () => {
  assert.equal(defaultsOf(shared).host, "0.0.0.0");
  assert.throws(() => defaultsOf(server), /server.maxBatch has no default/);
});

test("a setting is for operators unless its table marks it as tuning", () => {
  assert.equal(setting.integer({ min: 0, max: 1, doc: "Bound." }).tuning, false);
  assert.equal(setting.integer({ min: 0, max: 1, doc: "Bound.", tuning: true }).tuning, true);
  assert.equal(setting.text({ doc: "Text.", tuning: true }).tuning, true);
});
