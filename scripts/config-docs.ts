/**
 * Writes docs/configuration.md from the tables of configuration. With --check it writes nothing and
 * fails when the page is out of date.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type ConfigTable, environmentName, type Setting } from "#platform/config/config.ts";

const root = join(import.meta.dirname, "..");
const page = join(root, "docs/configuration.md");

const HEAD = `# Configuration

Every setting of every process. Written by \`node scripts/config-docs.ts\` from the tables in
\`platform/config/settings.ts\` and \`services/*/config.ts\`: change those, not this page.

A setting comes from the environment, else from one JSON file named by \`LUCKY_CONFIG\`, else it has its
default. A variable that is empty counts as not set. All faults are told together, and unknown names
are faults too. Secrets are printed as \`***\`.

\`\`\`json
{ "logLevel": "debug", "server": { "port": 8085 } }
\`\`\`
`;

const tables = await allTables();
const text = [HEAD, ...tables.map(section)].join("\n");
if (!process.argv.includes("--check")) {
  writeFileSync(page, text);
} else if (!existsSync(page) || readFileSync(page, "utf8") !== text) {
  console.error("docs/configuration.md is out of date: run node scripts/config-docs.ts");
  process.exitCode = 1;
}

/** The shared tables, then those of the services by name. */
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

function section({ name, settings }: ConfigTable): string {
  const title = name === "" ? "All processes" : name;
  const where = name === "" ? "At the top of the file." : `In the file under \`"${name}"\`.`;
  const rows = Object.entries(settings).map(([key, setting]) => row(name, key, setting));
  return [
    `## ${title}`,
    "",
    where,
    "",
    "| Variable | In the file | Default | Allowed | What |",
    "|---|---|---|---|---|",
    ...rows,
    "",
  ].join("\n");
}

function row(table: string, key: string, setting: Setting<unknown>): string {
  const cells = [
    `\`${environmentName(table, key)}\``,
    `\`${key}\``,
    shownDefault(setting),
    [setting.kind === "text" ? "text" : "", setting.range].filter(Boolean).join(", "),
    setting.doc + (setting.secret ? " **Secret.**" : ""),
  ];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function shownDefault({ default: value, unit }: Setting<unknown>): string {
  if (value === undefined) return "must be given";
  if (value === "" || (Array.isArray(value) && value.length === 0)) return "empty";
  const text = Array.isArray(value) ? value.join(",") : String(value);
  return unit === "" ? `\`${text}\`` : `\`${text}\` ${unit}`;
}
