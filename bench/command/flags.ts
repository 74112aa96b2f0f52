import { parseArgs } from "node:util";

/** One flag of a scenario. */
export interface Flag {
  /** Undefined for a flag that takes no value. */
  readonly default: string | undefined;
  readonly doc: string;
}

/** Declared flags, by name. Declare with `satisfies FlagTable`, so that the names stay in the type. */
export type FlagTable = Readonly<Record<string, Flag>>;

/**
 * The given flags. Reading a flag that is not declared is a type error. A function that reads some flags
 * accepts an object with more flags, but not one with fewer.
 */
export interface Flags<Value extends string, Switch extends string = never> {
  // Properties, not methods: TypeScript compares parameters of methods in both directions.
  readonly text: (name: Value) => string;
  /** A number, at least `least` (default 1). Throws an error for the user of the bench. */
  readonly number: (name: Value, least?: number) => number;
  readonly on: (name: Switch) => boolean;
}

/** The flags of a table: those with a default take a value, the others are switches. */
export type FlagsOf<T extends FlagTable> = Flags<ValueName<T>, SwitchName<T>>;

type ValueName<T extends FlagTable> = {
  [Name in keyof T]: T[Name]["default"] extends string ? Name : never;
}[keyof T] &
  string;

type SwitchName<T extends FlagTable> = {
  [Name in keyof T]: T[Name]["default"] extends undefined ? Name : never;
}[keyof T] &
  string;

/** Flags of every scenario. */
export const commonFlags = {
  json: {
    default: undefined,
    doc: "accepted without effect: the last line is always one JSON object",
  },
} satisfies FlagTable;

/** Reads flags. Throws an error for the user of the bench when the table does not declare a flag. */
export function readFlags<T extends FlagTable>(table: T, args: readonly string[]): FlagsOf<T> {
  const options = Object.fromEntries(
    Object.entries<Flag>({ ...table, ...commonFlags }).map(([name, { default: value }]) => [
      name,
      value === undefined
        ? ({ type: "boolean", default: false } as const)
        : ({ type: "string", default: value } as const),
    ]),
  );
  const { values } = parseArgs({ args: [...args], options });
  const text = (name: ValueName<T>) => String(values[name]);
  return {
    text,
    number(name, least = 1) {
      const value = Number(text(name));
      if (!Number.isFinite(value) || value < least) {
        throw new Error(`--${name} must be a number, at least ${least}`);
      }
      return value;
    },
    on: (name) => values[name] === true,
  };
}

/** The flags of a scenario as lines of help. */
export function describeFlags(table: FlagTable): string[] {
  return Object.entries<Flag>({ ...table, ...commonFlags }).map(
    ([name, { default: value, doc }]) => {
      const shown = value === undefined ? `--${name}` : `--${name} ${value || '""'}`;
      return `      ${shown.padEnd(24)} ${doc}`;
    },
  );
}
