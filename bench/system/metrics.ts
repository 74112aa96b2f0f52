/**
 * The sum of a metric over its labels and over processes. `opsUrls` are the addresses of their metrics.
 * Rejects when a process does not answer.
 */
export async function sumOfMetric(opsUrls: readonly string[], name: string): Promise<number> {
  let sum = 0;
  for (const url of opsUrls) {
    const answer = await fetch(new URL("/metrics", url));
    if (!answer.ok) throw new Error(`${url} answered ${answer.status} to a read of its metrics`);
    for (const line of (await answer.text()).split("\n")) {
      const value = line.startsWith(name) && /^(?:\{.*\})? (\S+)/.exec(line.slice(name.length));
      if (value) sum += Number(value[1]);
    }
  }
  return sum;
}
