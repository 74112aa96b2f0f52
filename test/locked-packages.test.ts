import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const root = join(import.meta.dirname, "..");
const read = (file: string) => JSON.parse(readFileSync(join(root, file), "utf8"));

/**
 * Hash of the archive with the binaries of uWebSockets.js, a repack by a third party. Before you
 * change it, follow docs/decisions/0010-locked-runtime-packages.md.
 */
const PINNED = {
  name: "uws-pack",
  version: "20.0.8",
  integrity:
    "sha512-EziGwZOMH8Y09erf/DHBgaGoTgt+XgqLFoyQfRiDrWHDCZ+jZ5aEBW7fSIcD5LzxDimHK2NxJpmlwSIfJiAZkg==",
};

test("the lock file pins the reviewed archive of uWebSockets.js, which runs no script at its installation", () => {
  assert.equal(read("package.json").dependencies["uWebSockets.js"], "npm:uws-pack@20.0.8");
  const locked = read("package-lock.json").packages["node_modules/uWebSockets.js"];
  const { name, version, integrity, hasInstallScript = false } = locked;
  assert.deepEqual({ name, version, integrity }, PINNED);
  assert.equal(hasInstallScript, false);
});

test("the package that reports installations is switched off", () => {
  assert.equal(read("package.json").scarfSettings.enabled, false);
});
