import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { Access } from "#gen/lucky/options/v1/options_pb.js";
import { SERVICES } from "#platform/rpc/contract.ts";
import { rulesOf } from "#platform/rpc/rules.ts";

const root = join(import.meta.dirname, "..");
const script = join(root, "scripts/permissions-docs.ts");
const page = readFileSync(join(root, "docs/permissions.md"), "utf8");

test("the page agrees with the contract", async () => {
  const flags = ["--disable-warning=ExperimentalWarning"];
  await promisify(execFile)(process.execPath, [...flags, script, "--check"]);
});

test("every method has its row, and only methods without a token have a mark for anyone", () => {
  let methods = 0;
  for (const { typeName, methods: all } of SERVICES) {
    const [, section = ""] = page.split(`## ${typeName}\n`);
    const rows = section.split("\n## ")[0]!.split("\n");
    for (const method of all) {
      methods++;
      const row = rows.find((line) => line.startsWith(`| \`${method.name}\``));
      assert.ok(row, `${typeName}/${method.name}`);
      const cells = row.split("|").map((cell) => cell.trim() === "✓");
      const { access } = rulesOf(method);
      assert.equal(cells[2], access === Access.PUBLIC, `anybody: ${row}`);
      assert.equal(cells[6], access !== Access.INTERNAL, `administrators: ${row}`);
    }
  }
  assert.ok(methods > 50);
});
