import assert from "node:assert/strict";
import { bucketOf, bucketOfGroup, bucketOfPair } from "#platform/buckets/bucket.ts";
import type { ObserveRun, Statement, Value } from "./database.ts";

/** Bytes before the elements of an array in PostgreSQL's binary format. */
const HEAD_BYTES = 20;
/** Bytes of a bigint element with its length. */
const ELEMENT_BYTES = 12;

/** The ids in a parameter: one id as text, or an array made by `bigints`. */
export function idsIn(value: Value | undefined): bigint[] {
  assert.ok(value !== undefined && value !== null);
  if (!Buffer.isBuffer(value)) return [BigInt(value)];
  const count = value.length < HEAD_BYTES ? 0 : (value.length - HEAD_BYTES) / ELEMENT_BYTES;
  return Array.from({ length: count }, (_, at) =>
    value.readBigInt64BE(HEAD_BYTES + at * ELEMENT_BYTES + 4),
  );
}

/** The buckets of a run, by the route of its statement; none for routes without a key. */
function bucketsOf({ route }: Statement, values: readonly Value[]): number[] {
  switch (route.kind) {
    case "conversations":
      return idsIn(values[route.ids - 1]).map(bucketOf);
    case "pairs": {
      const highs = idsIn(values[route.highs - 1]);
      return idsIn(values[route.lows - 1]).map((low, at) => bucketOfPair(low, highs[at]!));
    }
    case "groupKey":
      return [bucketOfGroup(String(values[route.creator - 1]), String(values[route.key - 1]))];
    case "everywhere":
    case "own":
      return [];
  }
}

/** Whether a statement may run in a database for a bucket. */
type MayRun = (bucket: number, database: number) => boolean;

/**
 * Compares each run of a statement with the statement's route. Without `mayRun`, each bucket is in the
 * database to which a new log assigns it. `runs` counts the runs by statement and database.
 */
export class RouteCheck {
  readonly runs = new Map<string, number[]>();
  readonly breaches: string[] = [];
  readonly #databases: number;
  readonly #mayRun: MayRun;

  constructor(databases: number, mayRun: MayRun = (bucket, at) => bucket % databases === at) {
    this.#databases = databases;
    this.#mayRun = mayRun;
  }

  readonly observe: ObserveRun = (database, statement, values) => {
    const runs = this.runs.get(statement.name) ?? new Array<number>(this.#databases).fill(0);
    runs[database]!++;
    this.runs.set(statement.name, runs);
    for (const bucket of bucketsOf(statement, values))
      if (!this.#mayRun(bucket, database))
        this.breaches.push(`${statement.name} ran for bucket ${bucket} in database ${database}`);
  };
}
