import type { Form } from "./urls.ts";

/** One setting: its meaning, its default and its parser. */
export interface Setting<T> {
  readonly kind: "text" | "integer" | "bool" | "choice" | "list";
  /** Description for docs/configuration.md: meaning, effect of the bound, when to change it. */
  readonly doc: string;
  /**
   * False for a setting that operators choose. True for a setting with a measured default that
   * rarely needs a change: docs/configuration.md lists it in a separate section.
   */
  readonly tuning: boolean;
  /**
   * Whether a change of the file of settings takes effect while the process runs. The value in the
   * configuration then changes in place: read it where it is used, and keep no copy.
   */
  readonly live: boolean;
  /** Default value; undefined when the setting must be given. */
  readonly default: T | undefined;
  /** A secret value is printed as *** and never appears in an error. */
  readonly secret: boolean;
  /** "ms", "bytes", "sessions" …; empty for none. */
  readonly unit: string;
  /** Allowed values in words; empty when every value is allowed. */
  readonly range: string;
  /** Parses an environment variable, which is never empty. */
  readonly fromText: (text: string) => unknown;
  /** The reason why a value is not allowed; undefined when it is. */
  readonly fault: (value: unknown) => string | undefined;
}

/** The arguments that every maker takes. */
interface Options<T> {
  default?: T;
  doc: string;
  tuning?: boolean;
  live?: boolean;
}

interface TextOptions extends Options<string> {
  secret?: boolean;
  /** Minimum number of characters of a value that is not empty. */
  minLength?: number;
  /** Form of a value that is not empty. Any text when absent. */
  form?: Form;
}

interface IntegerOptions extends Options<number> {
  min: number;
  max: number;
  unit?: string;
}

interface ListOptions extends Options<readonly string[]> {
  /** Form of the items. Any text when absent. */
  items?: Pick<Form, "plural" | "allows"> & Partial<Form>;
  /** Maximum number of items; unbounded when absent. */
  max?: number;
  /** The reason why valid items are not allowed together; undefined when they are. */
  conflict?: (items: readonly string[]) => string | undefined;
  secret?: boolean;
}

/** Makers of settings. A setting without a default must be given. */
export const setting = {
  text({ secret = false, minLength = 0, form, ...options }: TextOptions): Setting<string> {
    return {
      ...described(options),
      kind: "text",
      secret,
      range: form?.name ?? (minLength > 0 ? `at least ${minLength} characters` : ""),
      fromText: (text) => text,
      fault(given) {
        if (typeof given !== "string") return "must be a text";
        if (given !== "" && given.length < minLength) {
          return `must have at least ${minLength} characters`;
        }
        if (form === undefined || given === "" || form.allows(given)) return undefined;
        return `must be a ${form.name}, such as ${form.example}`;
      },
    };
  },

  integer({ min, max, unit = "", ...options }: IntegerOptions): Setting<number> {
    return {
      ...described(options),
      kind: "integer",
      unit,
      range: `${min} to ${max}`,
      fromText: (text) => (/^-?\d+$/.test(text) ? Number(text) : text),
      fault(given) {
        if (!Number.isSafeInteger(given)) return `must be a whole number from ${min} to ${max}`;
        const number = given as number;
        return number < min || number > max ? `must be from ${min} to ${max}` : undefined;
      },
    };
  },

  bool(options: Options<boolean>): Setting<boolean> {
    const words = new Map([
      ["true", true],
      ["1", true],
      ["false", false],
      ["0", false],
    ]);
    return {
      ...described(options),
      kind: "bool",
      range: "true or false",
      fromText: (text) => words.get(text) ?? text,
      fault: (given) => (typeof given === "boolean" ? undefined : "must be true or false"),
    };
  },

  choice<const V extends string>(values: readonly V[], options: Options<NoInfer<V>>): Setting<V> {
    const range = values.join(", ");
    return {
      ...described<V>(options),
      kind: "choice",
      range,
      fromText: (text) => text,
      fault: (given) => (values.includes(given as V) ? undefined : `must be one of ${range}`),
    };
  },

  /** Separated by commas in the environment, an array in the file. */
  list({
    items,
    max,
    conflict,
    secret = false,
    ...options
  }: ListOptions): Setting<readonly string[]> {
    const name = `${max === undefined ? "" : `at most ${max} `}${items?.plural ?? "texts"}`;
    const example = items?.example === undefined ? "" : `, such as ${items.example}`;
    const allows = (item: unknown) =>
      typeof item === "string" && (items === undefined || items.allows(item));
    return {
      ...described(options),
      kind: "list",
      secret,
      range: `${name}, separated by commas`,
      fromText: (text) => text.split(",").map((part) => part.trim()),
      fault(given) {
        if (!Array.isArray(given) || given.length > (max ?? Number.POSITIVE_INFINITY))
          return `must be a list of ${name}`;
        const wrong = given.findIndex((item) => !allows(item));
        return wrong < 0
          ? conflict?.(given)
          : `must be a list of ${name}${example}: check item ${wrong + 1}`;
      },
    };
  },
};

function described<T>({ default: value, doc, tuning = false, live = false }: Options<T>) {
  return { doc, tuning, live, default: value, secret: false, unit: "" };
}

type Settings = Record<string, Setting<unknown>>;

/** The settings of one service, or those that all processes share (name ""). */
export interface ConfigTable<D extends Settings = Settings> {
  readonly name: string;
  readonly settings: D;
}

/** The values of a table: a plain object. Only its live settings change, see `Setting.live`. */
export type ConfigOf<T extends ConfigTable> = {
  readonly [K in keyof T["settings"]]: T["settings"][K] extends Setting<infer V> ? V : never;
};

/** Declares a table. Name "server" is read from LUCKY_SERVER_<KEY>, name "" from LUCKY_<KEY>. */
export function defineConfig<const D extends Settings>(name: string, settings: D): ConfigTable<D> {
  return { name, settings };
}

/** The environment variable of a setting: ("server", "maxBatch") → LUCKY_SERVER_MAX_BATCH. */
export function environmentName(table: string, key: string): string {
  const snake = key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
  return table === "" ? `LUCKY_${snake}` : `LUCKY_${table.toUpperCase()}_${snake}`;
}

/** All defaults of a table. Throws when a setting has none. */
export function defaultsOf<T extends ConfigTable>(table: T): ConfigOf<T> {
  const values: Record<string, unknown> = {};
  for (const [key, { default: value }] of Object.entries(table.settings)) {
    if (value === undefined) throw new Error(`${table.name}.${key} has no default`);
    values[key] = value;
  }
  return values as ConfigOf<T>;
}

/** A value in a form that may be shown: as in the environment, and *** for a secret that is set. */
export function shownValue({ secret }: Setting<unknown>, value: unknown): string {
  if (secret && !isEmpty(value)) return "***";
  return Array.isArray(value) ? value.join(",") : String(value);
}

/** The name of a setting in the file, such as "server.port". */
export function settingName(table: string, key: string): string {
  return table === "" ? key : `${table}.${key}`;
}

/** All faults of a configuration in one error. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly faults: readonly string[];
  constructor(faults: readonly string[]) {
    super(["The configuration has faults:", ...faults.map((fault) => `  ${fault}`)].join("\n"));
    this.faults = faults;
  }
}

/** Whether a setting has no value: an empty text or an empty list. */
export function isEmpty(value: unknown): boolean {
  return value === "" || (Array.isArray(value) && value.length === 0);
}
