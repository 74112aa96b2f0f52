import type { Database } from "../log/database.ts";
import type { Failure } from "../log/logs.ts";

/** Numbers of databases that failed, as operators count them: from 1. */
export function numbersOf(failures: readonly Failure<Database>[]): number[] {
  return failures.flatMap(({ items }) => items.map(({ number }) => number + 1)).sort();
}
