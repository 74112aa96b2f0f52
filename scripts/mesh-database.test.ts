import assert from "node:assert/strict";
import { test } from "node:test";
import { namesDatabase, settingsFor } from "./mesh-database.ts";

const urls = {
  LUCKY_POSTGRES_URL: "postgresql://owner@h/lucky",
  LUCKY_MIGRATE_POSTGRES_URL: "postgresql://owner@h/lucky",
  LUCKY_AUTH_POSTGRES_URL: "postgresql://auth@h/lucky",
  LUCKY_SERVER_POSTGRES_URL: "postgresql://server@h/lucky",
  LUCKY_POSTGRES_LOG_URLS: "postgresql://server@h/a,postgresql://server@h/b",
  LUCKY_MIGRATE_POSTGRES_LOG_URLS: "postgresql://owner@h/a,postgresql://owner@h/b",
};

test("a process of the mesh gets no address of the database but its own", () => {
  const settings = { ...urls, LUCKY_HOST: "::1" };
  const { LUCKY_AUTH_POSTGRES_URL, LUCKY_SERVER_POSTGRES_URL, LUCKY_POSTGRES_LOG_URLS } = urls;
  assert.deepEqual(settingsFor("auth", settings), { LUCKY_HOST: "::1", LUCKY_AUTH_POSTGRES_URL });
  assert.deepEqual(settingsFor("server", settings), {
    LUCKY_HOST: "::1",
    LUCKY_SERVER_POSTGRES_URL,
    LUCKY_POSTGRES_LOG_URLS,
  });
  for (const service of ["gateway", "connect"])
    assert.deepEqual(settingsFor(service, settings), { LUCKY_HOST: "::1" });
});

test("only server gets the addresses of the log", () => {
  const LUCKY_POSTGRES_LOG_URLS = "postgresql://server@h/log_1,postgresql://server@h/log_2";
  const settings = { ...urls, LUCKY_POSTGRES_LOG_URLS, LUCKY_MIGRATE_POSTGRES_LOG_URLS: "x" };
  const { LUCKY_AUTH_POSTGRES_URL, LUCKY_SERVER_POSTGRES_URL } = urls;
  assert.deepEqual(settingsFor("server", settings), {
    LUCKY_SERVER_POSTGRES_URL,
    LUCKY_POSTGRES_LOG_URLS,
  });
  assert.deepEqual(settingsFor("auth", settings), { LUCKY_AUTH_POSTGRES_URL });
});

test("without users of their own, auth and server get the shared address", () => {
  const { LUCKY_POSTGRES_URL } = urls;
  assert.deepEqual(settingsFor("auth", { LUCKY_POSTGRES_URL }), {
    LUCKY_AUTH_POSTGRES_URL: LUCKY_POSTGRES_URL,
  });
  assert.deepEqual(settingsFor("connect", { LUCKY_POSTGRES_URL }), {});
});

test("the mesh creates no users in a database that the environment names", () => {
  assert.ok(!namesDatabase({ LUCKY_MIGRATE_POSTGRES_URL: "x", LUCKY_POSTGRES_URL: "" }));
  for (const name of ["LUCKY_POSTGRES_URL", "LUCKY_AUTH_POSTGRES_URL", "LUCKY_SERVER_POSTGRES_URL"])
    assert.ok(namesDatabase({ [name]: "x" }));
});
