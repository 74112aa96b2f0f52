import { BUCKETS } from "./bucket.ts";

/** Parses buckets such as "0-340,512", ascending. Throws an error for operators. */
export function parseBuckets(text: string): number[] {
  const buckets = new Set<number>();
  for (const part of text.split(",")) {
    const match = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(part.trim());
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? match?.[1]);
    if (match === null || first > last || last >= BUCKETS)
      throw new Error(
        `"${text}" is not a list of buckets such as 0-340,512; buckets are 0 to ${BUCKETS - 1}.`,
      );
    for (let bucket = first; bucket <= last; bucket++) buckets.add(bucket);
  }
  return [...buckets].sort((a, b) => a - b);
}

/** Formats ascending buckets as `parseBuckets` reads them. */
export function formatBuckets(buckets: readonly number[]): string {
  const ranges: [first: number, last: number][] = [];
  for (const bucket of buckets) {
    const range = ranges.at(-1);
    if (range !== undefined && range[1] === bucket - 1) range[1] = bucket;
    else ranges.push([bucket, bucket]);
  }
  return ranges
    .map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`))
    .join(",");
}
