import { type ConfigTable, environmentName, isEmpty, type Setting, settingName } from "./config.ts";
import { type EnvironmentSettings, secretFileName } from "./environment.ts";
import { nearestName } from "./nearest-name.ts";
import { asObject } from "./settings-text.ts";

export type Tables = Readonly<Record<string, ConfigTable>>;

/** Variable with the path of the file of settings. */
export const SETTINGS_FILE = "LUCKY_SETTINGS_FILE";

/** Where a value comes from. */
export type Source = "default" | "environment" | "file" | "secret-file";

/** Values of tables, and their sources. */
export interface Resolved {
  /** By key of the table, then by key of the setting. */
  readonly values: Readonly<Record<string, Record<string, unknown>>>;
  /** By name of the setting, such as "server.port". */
  readonly sources: ReadonlyMap<string, Source>;
}

/** The settings that an operator gave. */
export interface Given {
  readonly env: EnvironmentSettings;
  /** Names of all variables of the process. */
  readonly variables: readonly string[];
  /** Path of the file; empty for none. */
  readonly path: string;
  /** Content of the file. */
  readonly file: Readonly<Record<string, unknown>>;
  /** Keys of required settings by key of the table. */
  readonly required: Readonly<Record<string, readonly string[] | undefined>>;
  /** Names of tables that other processes read. */
  readonly others: readonly string[];
}

/**
 * Finds the value of each setting: from the environment, else from the file, else the default. Adds
 * each fault to `faults`.
 */
export function resolve(tables: Tables, given: Given, faults: string[]): Resolved {
  const { env, path, file } = given;
  faults.push(...unknownVariables(tables, given), ...unknownKeys(tables, given));
  const values: Record<string, Record<string, unknown>> = {};
  const sources = new Map<string, Source>();
  for (const [tableKey, table] of Object.entries(tables)) {
    const section = table.name === "" ? file : asObject(file[table.name]);
    const required = given.required[tableKey] ?? [];
    const ofTable: Record<string, unknown> = {};
    values[tableKey] = ofTable;
    for (const [key, setting] of Object.entries(table.settings)) {
      const variable = environmentName(table.name, key);
      const name = settingName(table.name, key);
      const { value, source } = givenOrDefault(setting, { env, variable, written: section?.[key] });
      ofTable[key] = value;
      sources.set(name, source);
      if (env.faulty.has(variable)) continue;
      const where = source === "file" ? `${path}: ${name}` : env.nameOf(variable);
      const isMissing = value === undefined || (isEmpty(value) && required.includes(key));
      const fault = isMissing ? "is missing" : setting.fault(value);
      if (fault === undefined) continue;
      const shown = isMissing || setting.secret ? "" : `, not ${JSON.stringify(value)}`;
      faults.push(`${where} ${fault}${shown}`);
    }
  }
  return { values, sources };
}

function givenOrDefault(
  setting: Setting<unknown>,
  given: {
    readonly env: EnvironmentSettings;
    readonly variable: string;
    readonly written: unknown;
  },
): { readonly value: unknown; readonly source: Source } {
  const { env, variable, written } = given;
  const text = env.texts.get(variable);
  if (text !== undefined) {
    const source = env.secretFiles.has(variable) ? "secret-file" : "environment";
    return { value: setting.fromText(text), source };
  }
  if (written !== undefined && written !== null) return { value: written, source: "file" };
  return { value: setting.default, source: "default" };
}

/** Faults of variables that no process reads. */
function unknownVariables(tables: Tables, { variables, others }: Given): string[] {
  const plain = new Set([SETTINGS_FILE]);
  const files = new Set<string>();
  for (const { name, settings } of Object.values(tables)) {
    for (const [key, { secret }] of Object.entries(settings)) {
      plain.add(environmentName(name, key));
      if (secret) files.add(secretFileName(environmentName(name, key)));
    }
  }
  const known = new Set([...plain, ...files]);
  const own = new Set(Object.values(tables).map(({ name }) => name));
  const otherPrefixes = others
    .filter((name) => !own.has(name))
    .map((name) => `LUCKY_${name.toUpperCase()}_`);
  return variables
    .filter((name) => name.startsWith("LUCKY_") && !known.has(name))
    .filter((name) => !otherPrefixes.some((prefix) => name.startsWith(prefix)))
    .map((name) => {
      const setting = name.replace(/_FILE$/, "");
      if (plain.has(setting))
        return `${name} is unknown: only secrets are read from files; use ${setting}`;
      return `${name} is unknown${guess(name, known)}`;
    });
}

/** Faults of keys of the file that no process reads. */
function unknownKeys(tables: Tables, { file, path, others }: Given): string[] {
  const list = Object.values(tables);
  const top = new Set(others);
  const faults: string[] = [];
  for (const { name, settings } of list) {
    if (name !== "") top.add(name);
    else for (const key of Object.keys(settings)) top.add(key);
  }
  for (const key of Object.keys(file)) {
    if (!top.has(key)) faults.push(`${path}: ${key} is unknown${guess(key, top)}`);
  }
  for (const { name, settings } of list) {
    const given = name === "" ? undefined : file[name];
    if (given === undefined || given === null) continue;
    const section = asObject(given);
    if (section === undefined) faults.push(`${path}: ${name} must be an object`);
    const names = Object.keys(settings).map((key) => settingName(name, key));
    for (const key of Object.keys(section ?? {})) {
      const full = settingName(name, key);
      if (!names.includes(full)) faults.push(`${path}: ${full} is unknown${guess(full, names)}`);
    }
  }
  return faults;
}

function guess(name: string, known: Iterable<string>): string {
  const nearest = nearestName(name, known);
  return nearest === undefined ? "" : `: did you mean ${nearest}?`;
}
