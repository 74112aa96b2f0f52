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
 * The flags given, where only declared flags can be read: any other name is a type error. A function
 * that takes few flags accepts more, and never the reverse.
 */
export interface Flags<Value extends string, Switch extends string = never> {
  // Properties, not methods: TypeScript compares parameters of methods in both directions.
  readonly text: (name: Value) => string;
  /** A number, at least `least`, which is 1 when absent. Throws a plain sentence. */
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

/** Flags that every scenario knows. */
export const commonFlags = {
  json: {
    default: undefined,
    doc: "accepted without effect: the last line is always one JSON object",
  },
} satisfies FlagTable;

/** Reads flags. Throws a plain sentence for a flag that the table does not declare. */
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
