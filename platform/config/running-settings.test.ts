import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { keptLog } from "#platform/log.fixture.ts";
import { levelSetter } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { defineConfig, setting } from "./config.ts";
import { openSettings } from "./load-config.ts";
import { watchSettings } from "./watch-settings.ts";

const shared = defineConfig("", {
  level: setting.choice(["info", "debug"], { default: "info", live: true, doc: "Level." }),
});
const server = defineConfig("server", {
  port: setting.integer({ default: 1, min: 0, max: 9, doc: "Port." }),
  most: setting.integer({ default: 5, min: 1, max: 9, live: true, doc: "Bound." }),
  names: setting.list({ default: [], live: true, doc: "Names." }),
  password: setting.text({ default: "", secret: true, doc: "Secret." }),
});

/** Settings with a file of this content. */
function open(t: TestContext, content: string, env: Record<string, string> = {}) {
  const folder = mkdtempSync(join(tmpdir(), "lucky-settings-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "settings.yaml");
  const write = (text: string) => writeFileSync(path, text);
  write(content);
  const opened = openSettings({ shared, server }, { env, file: path });
  return { ...opened, folder, path, write };
}

test("a change of the file changes the values in place, and reports each change", (t) => {
  const { config, settings, write } = open(t, "server: { most: 2 }");
  const own = config.server;
  let calls = 0;
  settings.onChange(() => calls++);
  assert.equal(settings.reload(1).kind, "unchanged");
  write("level: debug\nserver: { most: 3, names: [a, b], port: 1 }");
  const reload = settings.reload(2);
  assert.ok(reload.kind === "applied");
  assert.deepEqual(reload.changes, [
    { setting: "level", from: "info", to: "debug" },
    { setting: "server.most", from: "2", to: "3" },
    { setting: "server.names", from: "", to: "a,b" },
  ]);
  assert.ok(reload.modifiedAtMs > 0);
  assert.equal(reload.ownerUid, process.getuid?.());
  assert.deepEqual([own.most, own.names, config.shared.level], [3, ["a", "b"], "debug"]);
  write("{}");
  assert.equal(settings.reload(3).kind, "applied");
  assert.deepEqual([own.most, own.names, config.shared.level, calls], [5, [], "info", 2]);
  assert.equal(settings.file.readAtMs, 3);
});

test("a bad file is refused as a whole with all faults, until it is valid", (t) => {
  const { config, settings, write, path } = open(t, "server: { most: 2 }");
  const good = settings.file;
  write(
    "level: loud\nserver: { most: 10, moost: 1, port: 2, names: a, password: hunter2 }\nserv: {}",
  );
  const refused = settings.reload(7);
  assert.ok(refused.kind === "refused");
  assert.deepEqual([...refused.faults].sort(), [
    `${path}: level must be one of info, debug, not "loud"`,
    `${path}: serv is unknown: did you mean server?`,
    `${path}: server.moost is unknown: did you mean server.most?`,
    `${path}: server.most must be from 1 to 9, not 10`,
    `${path}: server.names must be a list of texts, not "a"`,
    `${path}: server.password is changed, which needs a restart of the process`,
    `${path}: server.port is changed, which needs a restart of the process`,
  ]);
  assert.deepEqual(settings.file, { ...good, refusedAtMs: 7, faults: refused.faults });
  assert.deepEqual(config.server, { port: 1, most: 2, names: [], password: "" });
  assert.equal(settings.reload(8).kind, "unchanged");
  write("");
  assert.deepEqual(settings.reload(9), {
    kind: "refused",
    faults: [`${path} is empty: write {} for no settings`],
  });
  rmSync(path);
  assert.deepEqual(settings.reload(9), {
    kind: "refused",
    faults: [`${path} cannot be read: ENOENT`],
  });
  write("server: { most: 4 }");
  assert.equal(settings.reload(10).kind, "applied");
  assert.deepEqual(settings.file, { path, readAtMs: 10, refusedAtMs: 0, faults: [] });
  assert.equal(config.server.most, 4);
});

test("a setting that is no longer in the file needs a restart, unless it is live", (t) => {
  const { settings, write, path } = open(t, "server: { port: 2, most: 2 }");
  write("{}");
  assert.deepEqual(settings.reload(1), {
    kind: "refused",
    faults: [`${path}: server.port is no longer set, which needs a restart of the process`],
  });
});

test("the environment overrides a live setting of the file, and the reload reports it", (t) => {
  const { config, settings, write } = open(t, "{}", { LUCKY_SERVER_MOST: "6" });
  write("server: { most: 2, names: [a] }");
  const reload = settings.reload(1);
  assert.ok(reload.kind === "applied");
  assert.deepEqual(reload.overridden, ["server.most"]);
  assert.deepEqual([config.server.most, config.server.names], [6, ["a"]]);
});

test("each setting is described with the source of its value, and a secret is hidden", (t) => {
  const { folder, path } = open(t, "level: debug\nserver: { most: 2 }");
  const secret = join(folder, "secret");
  writeFileSync(secret, "hunter2");
  const env = { LUCKY_SERVER_PORT: "3", LUCKY_SERVER_PASSWORD_FILE: secret };
  const { settings } = openSettings({ shared, server }, { env, file: path });
  assert.deepEqual(settings.describe(), [
    { name: "level", value: "debug", live: true, source: "file", location: path },
    {
      name: "server.port",
      value: "3",
      live: false,
      source: "environment",
      location: "LUCKY_SERVER_PORT",
    },
    { name: "server.most", value: "2", live: true, source: "file", location: path },
    { name: "server.names", value: "", live: true, source: "default", location: "" },
    { name: "server.password", value: "***", live: false, source: "secret-file", location: secret },
  ]);
});

/** Interval of reading the file without an event, ms. */
const POLL_MS = 30_000;

test("a change of a ConfigMap is applied, logged and counted, and a bad one raises the alert", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "lucky-configmap-"));
  t.after(() => rmSync(folder, { recursive: true }));
  // As Kubernetes writes it: the file is a link through ..data, which is replaced.
  const publish = (version: string, content: string) => {
    mkdirSync(join(folder, version));
    writeFileSync(join(folder, version, "settings.yaml"), content);
    symlinkSync(version, join(folder, "..next"));
    renameSync(join(folder, "..next"), join(folder, "..data"));
  };
  publish("..1", "server: { most: 2 }");
  const file = join(folder, "settings.yaml");
  symlinkSync("..data/settings.yaml", file);
  const { config, settings } = openSettings({ shared, server }, { env: {}, file });
  const { log, lines } = keptLog();
  const child = log.child({ part: "child" });
  const clock = new ManualClock();
  const metrics = new Metrics();
  const stop = watchSettings({ settings, clock, log, metrics });
  t.after(stop);

  publish("..2", "server: { most: 3 }");
  clock.advance(POLL_MS);
  assert.equal(config.server.most, 3);
  publish("..3", "server: { most: 30 }");
  clock.advance(POLL_MS);
  clock.advance(POLL_MS);
  assert.match(await metrics.text(), /^lucky_settings_refused 1$/m);
  publish("..4", "server: { most: 4 }");
  clock.advance(POLL_MS);
  assert.equal(config.server.most, 4);
  const text = await metrics.text();
  assert.match(text, /^lucky_settings_refused 0$/m);
  assert.match(text, /^lucky_settings_reloads_total\{result="applied"\} 2$/m);
  assert.match(text, /^lucky_settings_reloads_total\{result="refused"\} 1$/m);
  assert.deepEqual(
    lines.map(({ event, changes, faults }) => [event, changes ?? faults]),
    [
      ["settings_changed", [{ setting: "server.most", from: "2", to: "3" }]],
      ["settings_refused", [`${file}: server.most must be from 1 to 9, not 30`]],
      ["settings_changed", [{ setting: "server.most", from: "3", to: "4" }]],
    ],
  );
  assert.match(String(lines[0]?.modifiedAt), /^\d{4}-\d\d-\d\dT/);
  assert.equal(lines[0]?.ownerUid, process.getuid?.());
  child.info({ event: "still_there" });
  stop();
  publish("..5", "server: { most: 5 }");
  clock.advance(POLL_MS);
  assert.equal(config.server.most, 4);
});

test("an event of the folder applies a change without a poll", async (t) => {
  const { config, settings, write } = open(t, "server: { most: 2 }");
  const changed = Promise.withResolvers<void>();
  settings.onChange(changed.resolve);
  const { log } = keptLog();
  const clock = new ManualClock();
  const seen = Promise.withResolvers<void>();
  const watched = {
    now: () => clock.now(),
    elapsed: () => clock.elapsed(),
    every: clock.every.bind(clock),
    after(delayMs: number, callback: () => void) {
      const timer = clock.after(delayMs, callback);
      seen.resolve();
      return timer;
    },
  };
  t.after(watchSettings({ settings, clock: watched, log, metrics: new Metrics() }));
  write("server: { most: 3 }");
  await seen.promise;
  clock.advance(1_000);
  await changed.promise;
  assert.equal(config.server.most, 3);
});

test("the level of a log changes with those of the logs derived from it", () => {
  const { log, lines } = keptLog("warn");
  const setLevel = levelSetter(log);
  const child = log.child({ database: 1 });
  child.info({ event: "hidden" });
  setLevel("info");
  child.info({ event: "shown" });
  log.info({ event: "shown_too" });
  setLevel("error");
  child.warn({ event: "hidden" });
  assert.deepEqual(
    lines.map(({ event }) => event),
    ["shown", "shown_too"],
  );
});
