import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { defineConfig, setting } from "#platform/config/config.ts";
import { configPage } from "./config-page.ts";

const root = join(import.meta.dirname, "..");

test("docs/configuration.md is up to date", async () => {
  const script = join(root, "scripts/config-docs.ts");
  const flags = ["--disable-warning=ExperimentalWarning"];
  await promisify(execFile)(process.execPath, [...flags, script, "--check"]);
});

test("the page lists the settings for tuning after all settings of operators", () => {
  const page = configPage([
    defineConfig("", { host: setting.text({ default: "::", doc: "Address." }) }),
    defineConfig("auth", {
      lanes: setting.integer({ default: 4, min: 1, max: 9, doc: "Lanes.", tuning: true }),
      port: setting.integer({ default: 1, min: 0, max: 9, doc: "Port.", live: true }),
    }),
    defineConfig("server", { drainMs: setting.integer({ min: 0, max: 9, doc: "Time-out." }) }),
  ]);
  const lines = page.split("\n").filter((line) => /^#|^\| `|measured/.test(line));
  assert.deepEqual(lines, [
    "# Configuration",
    "## All processes",
    "| `LUCKY_HOST` | `host` | `::` | text |  | Address. |",
    "## auth",
    "| `LUCKY_AUTH_PORT` | `port` | `1` | 0 to 9 | ✓ | Port. |",
    "## server",
    "| `LUCKY_SERVER_DRAIN_MS` | `drainMs` | must be given | 0 to 9 |  | Time-out. |",
    "## Tuning",
    "The defaults of these settings are measured and rarely need a change.",
    "### auth",
    "| `LUCKY_AUTH_LANES` | `lanes` | `4` | 1 to 9 |  | Lanes. |",
  ]);
});

test("docs/configuration.md separates the settings of every service", () => {
  const page = readFileSync(join(root, "docs/configuration.md"), "utf8");
  const [operator = "", tuning = ""] = page.split("\n## Tuning\n");
  for (const name of ["AUTH_PORT", "AUTH_KEY_ENCRYPTION_KEY", "SERVER_POSTGRES_CONNECTIONS"])
    assert.ok(
      operator.includes(`\`LUCKY_${name}\``) && !tuning.includes(`\`LUCKY_${name}\``),
      name,
    );
  for (const name of ["AUTH_NONCE_SECONDS", "CONNECT_UPLINK_LANES", "SERVER_LANES"])
    assert.ok(
      tuning.includes(`\`LUCKY_${name}\``) && !operator.includes(`\`LUCKY_${name}\``),
      name,
    );
  for (const service of ["auth", "connect", "gateway", "server"])
    assert.ok(tuning.includes(`\n### ${service}\n`), service);
});
