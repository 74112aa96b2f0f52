import { parseArgs } from "node:util";

/** One flag of a scenario. */
export interface Flag {
  /** Undefined for a flag that takes no value. */
  readonly default: string | undefined;
  readonly doc: string;
}

/** The flags given, by name. */
export interface Flags {
  text(name: string): string;
  /** A number, at least `least`. Throws a plain sentence. */
  number(name: string, least?: number): number;
  on(name: string): boolean;
}

/** Flags that every scenario knows. */
export const commonFlags: Readonly<Record<string, Flag>> = {
  json: { default: undefined, doc: "nothing changes: the last line is always one JSON object" },
};

/** Reads flags. Throws, in a plain sentence, for one that the scenario does not know. */
export function readFlags(table: Readonly<Record<string, Flag>>, args: string[]): Flags {
  const options = Object.fromEntries(
    Object.entries({ ...table, ...commonFlags }).map(([name, { default: value }]) => [
      name,
      value === undefined
        ? ({ type: "boolean", default: false } as const)
        : ({ type: "string", default: value } as const),
    ]),
  );
  const { values } = parseArgs({ args, options });
  const text = (name: string) => String(values[name] ?? "");
  return {
    text,
    number(name, least = 1) {
      const value = Number(text(name));
      if (!Number.isFinite(value) || value < least) {
        throw new Error(`--${name} is a number, at least ${least}`);
      }
      return value;
    },
    on: (name) => values[name] === true,
  };
}

/** The flags of a scenario as lines of help. */
export function describeFlags(table: Readonly<Record<string, Flag>>): string[] {
  return Object.entries({ ...table, ...commonFlags }).map(([name, { default: value, doc }]) => {
    const shown = value === undefined ? `--${name}` : `--${name} ${value || '""'}`;
    return `      ${shown.padEnd(24)} ${doc}`;
  });
}
