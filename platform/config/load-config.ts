import { readFileSync } from "node:fs";
import {
  ConfigError,
  type ConfigOf,
  type ConfigTable,
  environmentName,
  isEmpty,
} from "./config.ts";
import { readEnvironment, secretFileName } from "./environment.ts";

type Tables = Readonly<Record<string, ConfigTable>>;

export interface LoadOptions<T extends Tables> {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Path of a JSON file; LUCKY_CONFIG when absent. The environment overrides the file. */
  readonly file?: string;
  /** Settings that this process needs, though their table allows an empty value. */
  readonly required?: { readonly [K in keyof T]?: readonly (keyof T[K]["settings"] & string)[] };
  /** Key of a setting that at least one of these tables must have a value for. */
  readonly oneOf?: { readonly key: string; readonly tables: readonly (keyof T & string)[] };
  /** Names of tables that other processes read from the same environment and file; ignored here. */
  readonly others?: readonly string[];
}

/**
 * Reads the values of all tables and returns them under the keys of `tables`.
 *
 * An environment variable that is empty counts as not set. LUCKY_<NAME>_FILE is the path of a file
 * with the secret of LUCKY_<NAME>. In the file of settings, a table is an object under
 * its name; the settings of the table "" are at the top level: {"host": "::", "server": {"port": 1}}.
 * Throws one ConfigError with all faults: invalid values, missing values, unknown names.
 */
export function loadConfig<const T extends Tables>(
  tables: T,
  options: LoadOptions<T>,
): { readonly [K in keyof T]: ConfigOf<T[K]> } {
  const faults: string[] = [];
  const env = readEnvironment(tables, options.env, faults);
  const path = options.file ?? options.env.LUCKY_CONFIG ?? "";
  const file = path === "" ? {} : readFile(path, faults);
  faults.push(
    ...unknownNames(tables, { env: options.env, file, path, others: options.others ?? [] }),
  );

  const all: Record<string, Record<string, unknown>> = {};
  for (const [tableKey, table] of Object.entries(tables)) {
    const section = table.name === "" ? file : asObject(file[table.name]);
    const required: readonly string[] = options.required?.[tableKey] ?? [];
    const values: Record<string, unknown> = {};
    for (const [key, one] of Object.entries(table.settings)) {
      const variable = environmentName(table.name, key);
      const text = env.texts.get(variable);
      const given = text === undefined ? section?.[key] : one.fromText(text);
      const value = given ?? one.default;
      values[key] = value;
      if (env.faulty.has(variable)) continue;
      const where =
        text === undefined && given !== undefined
          ? `${path}: ${dotted(table, key)}`
          : env.nameOf(variable);
      const fault =
        value === undefined || (isEmpty(value) && required.includes(key))
          ? "is missing"
          : one.fault(value);
      if (fault === undefined) continue;
      const shown = fault === "is missing" || one.secret ? "" : `, not ${JSON.stringify(value)}`;
      faults.push(`${where} ${fault}${shown}`);
    }
    all[tableKey] = Object.freeze(values) as Record<string, unknown>;
  }
  const { oneOf } = options;
  if (oneOf?.tables.every((tableKey) => all[tableKey]?.[oneOf.key] === "")) {
    const names = oneOf.tables.map((tableKey) =>
      environmentName(tables[tableKey]!.name, oneOf.key),
    );
    if (!names.some((name) => env.faulty.has(name)))
      faults.push(`${names.join(" or ")} is missing`);
  }
  if (faults.length > 0) throw new ConfigError(faults);
  return all as { readonly [K in keyof T]: ConfigOf<T[K]> };
}

function readFile(path: string, faults: string[]): Record<string, unknown> {
  try {
    const content = asObject(JSON.parse(readFileSync(path, "utf8")));
    if (content !== undefined) return content;
    faults.push(`${path} must hold one JSON object`);
  } catch (error) {
    faults.push(`${path} cannot be read: ${(error as Error).message}`);
  }
  return {};
}

interface Given {
  env: Readonly<Record<string, string | undefined>>;
  file: Record<string, unknown>;
  path: string;
  others: readonly string[];
}

function unknownNames(tables: Tables, { env, file, path, others }: Given): string[] {
  const list = Object.values(tables);
  const variables = new Set(["LUCKY_CONFIG"]);
  const keys = new Set<string>(others);
  const faults: string[] = [];
  for (const table of list) {
    for (const [key, { secret }] of Object.entries(table.settings)) {
      variables.add(environmentName(table.name, key));
      if (secret) variables.add(secretFileName(environmentName(table.name, key)));
    }
    if (table.name === "") for (const key of Object.keys(table.settings)) keys.add(key);
    else {
      keys.add(table.name);
      if (!(table.name in file)) continue;
      const section = asObject(file[table.name]);
      if (section === undefined) faults.push(`${path}: ${table.name} must be an object`);
      for (const key of Object.keys(section ?? {})) {
        if (!(key in table.settings)) faults.push(`${path}: ${dotted(table, key)} is unknown`);
      }
    }
  }
  const ownTables = new Set(list.map((table) => table.name));
  const otherPrefixes = others
    .filter((name) => !ownTables.has(name))
    .map((name) => `LUCKY_${name.toUpperCase()}_`);
  for (const name of Object.keys(env)) {
    if (!name.startsWith("LUCKY_") || variables.has(name)) continue;
    if (otherPrefixes.some((prefix) => name.startsWith(prefix))) continue;
    const setting = name.replace(/_FILE$/, "");
    const reason = variables.has(setting)
      ? `: only secrets are read from files; use ${setting}`
      : "";
    faults.push(`${name} is unknown${reason}`);
  }
  for (const key of Object.keys(file)) {
    if (!keys.has(key)) faults.push(`${path}: ${key} is unknown`);
  }
  return faults;
}

function dotted(table: ConfigTable, key: string): string {
  return table.name === "" ? key : `${table.name}.${key}`;
}

function asObject(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}
