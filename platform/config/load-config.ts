import { systemClock } from "#platform/clock.ts";
import { ConfigError, type ConfigOf, environmentName } from "./config.ts";
import { readEnvironment } from "./environment.ts";
import { type Given, resolve, SETTINGS_FILE, type Tables } from "./resolve.ts";
import { Settings } from "./running-settings.ts";
import { parseSettings, readSettingsText } from "./settings-text.ts";

export interface LoadOptions<T extends Tables> {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Path of the file of settings; LUCKY_SETTINGS_FILE when absent. */
  readonly file?: string;
  /** Settings that this process needs, though their table allows an empty value. */
  readonly required?: { readonly [K in keyof T]?: readonly (keyof T[K]["settings"] & string)[] };
  /** Key of a setting that at least one of these tables must have a value for. */
  readonly oneOf?: { readonly key: string; readonly tables: readonly (keyof T & string)[] };
  /** Names of tables that other processes read from the same environment and file; ignored here. */
  readonly others?: readonly string[];
}

/** The values of all tables, under the keys of `tables`. */
export type Values<T extends Tables> = { readonly [K in keyof T]: ConfigOf<T[K]> };

/** Like `openSettings`, for a command that reads its settings once. */
export function loadConfig<const T extends Tables>(tables: T, options: LoadOptions<T>): Values<T> {
  return openSettings(tables, options).config;
}

/**
 * Reads the values of all tables. Returns them with the settings that keep the live ones up to date.
 *
 * An environment variable that is empty counts as not set. LUCKY_<NAME>_FILE is the path of a file
 * with the secret of LUCKY_<NAME>. In the file of settings, YAML or JSON, a table is an object under
 * its name; the settings of the table "" are at the top level: {"host": "::", "server": {"port": 1}}.
 * The environment overrides the file. Throws one ConfigError with all faults: invalid values, missing
 * values, unknown names.
 */
export function openSettings<const T extends Tables>(
  tables: T,
  options: LoadOptions<T>,
): { readonly config: Values<T>; readonly settings: Settings } {
  const faults: string[] = [];
  const env = readEnvironment(tables, options.env, faults);
  const path = options.file ?? options.env[SETTINGS_FILE] ?? "";
  const { text, content } = path === "" ? {} : readFile(path, faults);
  const given: Given = {
    env,
    variables: Object.keys(options.env),
    path,
    file: content ?? {},
    required: (options.required ?? {}) as Given["required"],
    others: options.others ?? [],
  };
  const resolved = resolve(tables, given, faults);
  const { oneOf } = options;
  if (oneOf?.tables.every((tableKey) => resolved.values[tableKey]?.[oneOf.key] === "")) {
    const names = oneOf.tables.map((tableKey) =>
      environmentName(tables[tableKey]!.name, oneOf.key),
    );
    if (!names.some((name) => env.faulty.has(name)))
      faults.push(`${names.join(" or ")} is missing`);
  }
  if (faults.length > 0) throw new ConfigError(faults);
  const settings = new Settings({
    tables,
    given,
    resolved,
    text: text ?? "",
    readAtMs: systemClock.now(),
  });
  return { config: resolved.values as Values<T>, settings };
}

function readFile(path: string, faults: string[]) {
  try {
    const read = readSettingsText(path);
    return { text: read.text, content: parseSettings(read, { path, faults }) };
  } catch (error) {
    faults.push((error as Error).message);
    return {};
  }
}
