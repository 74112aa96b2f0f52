import { type ConfigTable, environmentName, type Setting } from "#platform/config/config.ts";
import { secretFileName } from "#platform/config/environment.ts";

const HEAD = `# Configuration

Every setting of every process. Written by \`node scripts/config-docs.ts\` from the tables in
\`platform/config/settings.ts\` and \`services/*/config.ts\`: change those, not this page.

A setting is read from the environment, else from one file in YAML or JSON that \`LUCKY_SETTINGS_FILE\` names,
else it has its default. A variable that is empty counts as not set. A process that finds faults reports all of
them together and does not start; an unknown name is a fault too. Secrets are printed as \`***\`.

**Live** settings change while a process runs, within seconds of a change of the file
([live settings](administration.md#live-settings)); all others need a restart. The environment overrides the file:
a setting that a variable sets changes only with a restart.

Each secret can be in a file of its own instead, such as one that Docker or Kubernetes mounts: the variable
with \`_FILE\` at its end has the path. Newlines at the end of the file do not count. The file is read at the
start; it has at most 64 KiB. Set the variable or its \`_FILE\`, not both.

\`\`\`yaml
logLevel: debug
limits:
  sendPerSecond: 100
\`\`\`

The settings of an operator come first. The last section lists the settings for
[tuning](#tuning), which rarely need a change.
`;

const TUNING = `## Tuning

The defaults of these settings are measured and rarely need a change.
`;

/** docs/configuration.md: the settings of operators by table, then those for tuning by table. */
export function configPage(tables: readonly ConfigTable[]): string {
  const operator = sections(tables, { tuning: false, level: "##" });
  const tuning = sections(tables, { tuning: true, level: "###" });
  return [HEAD, ...operator, ...(tuning.length > 0 ? [TUNING, ...tuning] : [])].join("\n");
}

/** One section for each table with settings for operators, or with settings for tuning. */
function sections(
  tables: readonly ConfigTable[],
  { tuning, level }: { tuning: boolean; level: string },
): string[] {
  return tables.flatMap(({ name, settings }) => {
    const rows = Object.entries(settings)
      .filter(([, setting]) => setting.tuning === tuning)
      .map(([key, setting]) => row(name, key, setting));
    if (rows.length === 0) return [];
    const title = name === "" ? "All processes" : name;
    const where =
      name === "" ? "At the top level of the file." : `In the file under \`"${name}"\`.`;
    const head = "| Variable | In the file | Default | Allowed | Live | Meaning |";
    return [
      `${level} ${title}\n\n${where}\n\n${head}\n|---|---|---|---|:-:|---|\n${rows.join("\n")}\n`,
    ];
  });
}

function row(table: string, key: string, setting: Setting<unknown>): string {
  const variable = environmentName(table, key);
  const cells = [
    `\`${variable}\``,
    `\`${key}\``,
    shownDefault(setting),
    [setting.kind === "text" ? "text" : "", setting.range].filter(Boolean).join(", "),
    setting.live ? "✓" : "",
    setting.doc +
      (setting.secret ? ` **Secret**, or a file: \`${secretFileName(variable)}\`.` : ""),
  ];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function shownDefault({ default: value, unit }: Setting<unknown>): string {
  if (value === undefined) return "must be given";
  if (value === "" || (Array.isArray(value) && value.length === 0)) return "empty";
  const text = Array.isArray(value) ? value.join(",") : String(value);
  return unit === "" ? `\`${text}\`` : `\`${text}\` ${unit}`;
}
