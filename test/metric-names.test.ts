import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const root = join(import.meta.dirname, "..");

/** Services by the metric names that their sources register. Test files are skipped. */
function servicesByMetric(): Map<string, Set<string>> {
  const services = new Map<string, Set<string>>();
  for (const path of globSync("services/*/**/*.ts", { cwd: root })) {
    if (/\.(test|suite|fixture)\.ts$/.test(path)) continue;
    const service = path.split("/")[1]!;
    for (const [, name] of readFileSync(join(root, path), "utf8").matchAll(/"(lucky_[a-z_]+)"/g)) {
      services.set(name!, (services.get(name!) ?? new Set()).add(service));
    }
  }
  return services;
}

test("no metric is registered by two services, which would count a case twice in one process", () => {
  const services = servicesByMetric();
  assert.ok(services.size > 20, "the metrics were not found");
  const shared = [...services].filter(([, owners]) => owners.size > 1);
  assert.deepEqual(shared, []);
});
