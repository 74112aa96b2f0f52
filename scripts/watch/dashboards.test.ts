import assert from "node:assert/strict";
import { globSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { DASHBOARDS, grafanaJson } from "./dashboards.ts";

const root = join(import.meta.dirname, "../..");
const read = (path: string) => readFileSync(join(root, path), "utf8");

interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly annotations: { readonly summary: string; readonly runbook_url: string };
}

const alerts: readonly Alert[] = parse(read("k8s/watch/prometheus/rules/lucky.yml")).groups[0]
  .rules;
const panels = DASHBOARDS.flatMap(({ rows }) => Object.values(rows).flat());
const METRIC = /\blucky_[a-z_]+/g;

/** Names of all metrics in the sources of the product. */
function registered(): Set<string> {
  const files = globSync("{services,platform}/**/!(*.test|*.suite|*.fixture).ts", { cwd: root });
  const names = files.flatMap((path) => [...read(path).matchAll(/"(lucky_[a-z_]+)"/g)]);
  return new Set(names.map(([, name]) => name!));
}

test("the committed dashboards of Grafana equal the generated ones", () => {
  const folder = "k8s/watch/grafana/dashboards";
  const advice = "run: node scripts/watch/main.ts";
  for (const dashboard of DASHBOARDS)
    assert.equal(read(`${folder}/${dashboard.name}.json`), grafanaJson(dashboard), advice);
  const files = readdirSync(join(root, folder)).filter((name) => name.endsWith(".json"));
  assert.deepEqual(files.sort(), DASHBOARDS.map(({ name }) => `${name}.json`).sort(), advice);
});

test("every metric of the dashboards and alerts exists", () => {
  const names = registered();
  assert.ok(names.size > 40, "the metrics were not found");
  const expressions = [
    ...panels.flatMap(({ curves }) => Object.values(curves)),
    ...alerts.map(({ expr }) => expr),
  ];
  const used = expressions.flatMap((expression) => expression.match(METRIC) ?? []);
  const base = (name: string) => name.replace(/_(bucket|sum|count)$/, "");
  assert.deepEqual(
    [...new Set(used)].filter((name) => !names.has(name) && !names.has(base(name))),
    [],
  );
});

test("every alert has a test in which it fires, and the dashboards name only alerts that exist", () => {
  const names = alerts.map(({ alert }) => alert);
  assert.ok(names.length > 20, "the alerts were not found");
  interface AlertTest {
    readonly alert_rule_test: readonly { alertname: string; exp_alerts?: readonly unknown[] }[];
  }
  const tests: readonly AlertTest[] = parse(read("test/watch/alerts.test.yml")).tests;
  const fired = tests.flatMap(({ alert_rule_test: rules }) =>
    rules.filter(({ exp_alerts: expected = [] }) => expected.length > 0),
  );
  assert.deepEqual(
    names.filter((name) => !fired.some(({ alertname }) => alertname === name)),
    [],
  );
  const named = panels.flatMap(({ description }) => description.match(/\bLucky[A-Z]\w+/g) ?? []);
  assert.deepEqual(
    named.filter((name) => !names.includes(name)),
    [],
  );
});
