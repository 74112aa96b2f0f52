/**
 * Writes docs/configuration.md from the tables of configuration. With --check it writes nothing and
 * fails when the page is out of date.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { ConfigTable } from "#platform/config/config.ts";
import { configPage } from "./config-page.ts";

const root = join(import.meta.dirname, "..");
const page = join(root, "docs/configuration.md");

const text = configPage(await allTables());
if (!process.argv.includes("--check")) {
  writeFileSync(page, text);
} else if (!existsSync(page) || readFileSync(page, "utf8") !== text) {
  console.error("docs/configuration.md is out of date: run node scripts/config-docs.ts");
  process.exitCode = 1;
}

/** The tables of shared settings and of each service, by name. */
async function allTables(): Promise<ConfigTable[]> {
  const services = readdirSync(join(root, "services")).sort();
  const files = services.map((name) => join(root, "services", name, "config.ts"));
  const found: ConfigTable[] = [];
  for (const file of [join(root, "platform/config/settings.ts"), ...files.filter(existsSync)]) {
    const module: Record<string, unknown> = await import(pathToFileURL(file).href);
    const exported = Object.entries(module).filter(([name]) => name.endsWith("Config"));
    found.push(...exported.map(([, table]) => table as ConfigTable));
  }
  return found.sort((a, b) => a.name.localeCompare(b.name));
}
