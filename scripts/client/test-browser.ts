/**
 * Runs the tests of the client in a browser, Debian's Chromium, and those of its package. Installs
 * Chromium when it is missing.
 */
import { spawn } from "node:child_process";
import { globSync } from "node:fs";
import { join } from "node:path";
import { findProgram, installPackages } from "../servers.ts";

const root = join(import.meta.dirname, "../..");
const ADVICE = "Install Chromium with the machine's package manager.";

installPackages(findProgram("chromium", []) ? [] : ["chromium"], ADVICE);
const flags = [
  "--disable-warning=ExperimentalWarning",
  "--test",
  "--test-reporter=spec",
  "--test-timeout=600000",
];
// One file after the other: each starts a browser or a whole system.
const child = spawn(
  process.execPath,
  [...flags, "--test-concurrency=1", ...globSync("test/browser/*.browser.test.ts", { cwd: root })],
  { cwd: root, stdio: "inherit" },
);
child.once("close", (code) => {
  process.exitCode = code ?? 1;
});
