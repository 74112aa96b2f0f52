import { isDeepStrictEqual } from "node:util";
import { environmentName, settingName, shownValue } from "./config.ts";
import { type Given, type Resolved, resolve, type Source, type Tables } from "./resolve.ts";
import { parseSettings, readSettingsText, type SettingsText } from "./settings-text.ts";

/** A setting and its value in use. */
export interface ShownSetting {
  /** Name in the file, such as "server.port". */
  readonly name: string;
  /** As in the environment; *** for a secret that is set. */
  readonly value: string;
  readonly live: boolean;
  readonly source: Source;
  /** The variable, or the path of the file; empty for a default. */
  readonly location: string;
}

/** A change of a live setting, in a form that may be logged. */
export interface SettingChange {
  readonly setting: string;
  readonly from: string;
  readonly to: string;
}

/** Result of a reload of the file. */
export type Reload =
  | { readonly kind: "unchanged" }
  | ({
      readonly kind: "applied";
      readonly changes: readonly SettingChange[];
      /** Settings of the file that have no effect, because the environment overrides them. */
      readonly overridden: readonly string[];
    } & Omit<SettingsText, "text">)
  | { readonly kind: "refused"; readonly faults: readonly string[] };

/** The file of settings. Times are milliseconds since the Unix epoch. */
export interface FileState {
  /** Empty when the process reads no file. */
  readonly path: string;
  /** When the content in use was read. */
  readonly readAtMs: number;
  /** When the present content was refused; 0 while it is in use. */
  readonly refusedAtMs: number;
  /** All faults of the refused content. */
  readonly faults: readonly string[];
}

interface SettingsOptions {
  readonly tables: Tables;
  readonly given: Given;
  /** The values in use. A reload changes them in place. */
  readonly resolved: Resolved;
  /** Text of the file; empty without a file. */
  readonly text: string;
  /** Milliseconds since the Unix epoch. */
  readonly readAtMs: number;
}

/**
 * The settings of a running process. A file with a fault, or with a change that needs a restart, is
 * refused as a whole, and the values in use stay.
 */
export class Settings {
  readonly #tables: Tables;
  readonly #given: Given;
  readonly #values: Readonly<Record<string, Record<string, unknown>>>;
  readonly #listeners: (() => void)[] = [];
  #sources: ReadonlyMap<string, Source>;
  /** The text, or the error of reading it, that was applied or refused last. */
  #seen: string;
  #file: FileState;

  constructor({ tables, given, resolved, text, readAtMs }: SettingsOptions) {
    this.#tables = tables;
    this.#given = given;
    this.#values = resolved.values;
    this.#sources = resolved.sources;
    this.#seen = text;
    this.#file = { path: given.path, readAtMs, refusedAtMs: 0, faults: [] };
  }

  get file(): FileState {
    return this.#file;
  }

  /** Calls the listener after each change of live settings. Most parts just read their configuration. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Reads the file, and applies or refuses its changes since the last read. */
  reload(nowMs: number): Reload {
    const faults: string[] = [];
    const { path } = this.#file;
    const refuse = (faults: readonly string[]): Reload => {
      this.#file = { ...this.#file, refusedAtMs: nowMs, faults };
      return { kind: "refused", faults };
    };
    let read: SettingsText;
    try {
      read = readSettingsText(path);
    } catch (error) {
      const { message } = error as Error;
      return this.#isSeen(message) ? { kind: "unchanged" } : refuse([message]);
    }
    if (this.#isSeen(read.text)) return { kind: "unchanged" };
    const file = parseSettings(read, { path, faults });
    if (file === undefined) return refuse(faults);
    const resolved = resolve(this.#tables, { ...this.#given, file }, faults);
    const changes = this.#changesTo(resolved, faults);
    if (faults.length > 0) return refuse(faults);
    this.#file = { path, readAtMs: nowMs, refusedAtMs: 0, faults: [] };
    this.#sources = resolved.sources;
    for (const [tableKey, values] of Object.entries(resolved.values))
      Object.assign(this.#values[tableKey]!, values);
    if (changes.length > 0) for (const listener of this.#listeners) listener();
    const { modifiedAtMs, ownerUid } = read;
    const overridden = this.#overriddenOf(file);
    return { kind: "applied", changes, overridden, modifiedAtMs, ownerUid };
  }

  /** All settings in the order of their tables. */
  describe(): ShownSetting[] {
    return Object.entries(this.#tables).flatMap(([tableKey, table]) =>
      Object.entries(table.settings).map(([key, setting]) => {
        const name = settingName(table.name, key);
        const source = this.#sources.get(name)!;
        const location = this.#locationOf(environmentName(table.name, key), source);
        const value = shownValue(setting, this.#values[tableKey]![key]);
        return { name, value, live: setting.live, source, location };
      }),
    );
  }

  #isSeen(content: string): boolean {
    const isSeen = content === this.#seen;
    this.#seen = content;
    return isSeen;
  }

  /** The changes; a change of a setting that is not live is a fault. */
  #changesTo({ values, sources }: Resolved, faults: string[]): SettingChange[] {
    const changes: SettingChange[] = [];
    for (const [tableKey, { name: table, settings }] of Object.entries(this.#tables)) {
      for (const [key, setting] of Object.entries(settings)) {
        const before = this.#values[tableKey]![key];
        const after = values[tableKey]![key];
        if (isDeepStrictEqual(before, after)) continue;
        const name = settingName(table, key);
        const change = {
          setting: name,
          from: shownValue(setting, before),
          to: shownValue(setting, after),
        };
        changes.push(change);
        if (setting.live) continue;
        const how = sources.get(name) === "default" ? "no longer set" : "changed";
        faults.push(`${this.#file.path}: ${name} is ${how}, which needs a restart of the process`);
      }
    }
    return changes;
  }

  #overriddenOf(file: Readonly<Record<string, unknown>>): string[] {
    return Object.values(this.#tables).flatMap(({ name, settings }) => {
      const section = (name === "" ? file : file[name]) as Record<string, unknown> | undefined;
      return Object.keys(settings)
        .filter((key) => section?.[key] !== undefined)
        .filter((key) => this.#sources.get(settingName(name, key)) !== "file")
        .map((key) => settingName(name, key));
    });
  }

  #locationOf(variable: string, source: Source): string {
    switch (source) {
      case "default":
        return "";
      case "environment":
        return variable;
      case "file":
        return this.#file.path;
      case "secret-file":
        return this.#given.env.secretFiles.get(variable) ?? "";
    }
  }
}
