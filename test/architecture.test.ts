import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { breaches, importsOf } from "./architecture.ts";

const root = join(import.meta.dirname, "..");
const FOLDERS = ["platform", "services", "client", "bench", "scripts", "test"];

test("imports point one way, vendors stay behind their fences, nothing goes in circles", () => {
  const paths = globSync(`{${FOLDERS.join(",")}}/**/*.ts`, { cwd: root });
  const sources = new Map(paths.map((path) => [path, readFileSync(join(root, path), "utf8")]));
  assert.ok(sources.size > 50, "the sources were not found");
  assert.deepEqual(breaches(sources), []);
});

/** A tree without a fault, plus the files given. */
function tree(files: Record<string, string>): Map<string, string> {
  const sources = new Map<string, string>();
  for (const service of ["auth", "server"]) {
    sources.set(`services/${service}/config.ts`, "export const config = 1;\n");
    sources.set(`services/${service}/service.ts`, importing("./config.ts"));
    sources.set(`services/${service}/main.ts`, importing("./service.ts"));
  }
  for (const [path, source] of Object.entries(files)) sources.set(path, source);
  return sources;
}

function importing(...names: string[]): string {
  const lines = names.map((name, at) => ["import {", `  x${at},`, `} from "${name}";`].join("\n"));
  return `${lines.join("\n")}\nexport const y = 1;\n`;
}

test("a tree that keeps the rules has no breach", () => {
  const sources = tree({
    "services/all.ts": importing("./auth/service.ts", "./server/service.ts", "#platform/a.ts"),
    "platform/a.ts": importing("../gen/x_pb.js", "pino"),
    "client/a.ts": importing("../gen/x_pb.js", "@connectrpc/connect-web", "./b.ts"),
  });
  assert.deepEqual(breaches(sources), []);
});

const forbidden: [title: string, path: string, source: string, says: RegExp][] = [
  [
    "a service that imports a service",
    "services/auth/sign-in/login.ts",
    importing("../server/append.ts"),
    /^services\/auth\/login\.ts imports services\/server\/append\.ts: a service never imports/,
  ],
  [
    "a service that imports a service dynamically",
    "services/auth/sign-in/login.ts",
    `export const load = () => import("../server/append.ts");\n`,
    /a service never imports another/,
  ],
  [
    "a service's test that imports a service",
    "services/auth/sign-in/login.test.ts",
    importing("../server/append.ts"),
    /a service never imports another/,
  ],
  [
    "a service file that imports its service",
    "services/auth/sign-in/login.ts",
    importing("./service.ts"),
    /imports point one way/,
  ],
  [
    "a platform file that imports a service",
    "platform/a.ts",
    importing("../services/auth/config.ts"),
    /the platform knows no service/,
  ],
  [
    "an uphill import by an alias",
    "services/auth/sign-in/login.ts",
    importing("#platform/../services/server/append.ts"),
    /a service never imports another/,
  ],
  [
    "a client that imports the platform by an alias",
    "client/a.ts",
    importing("#platform/errors.ts"),
    /the client imports only/,
  ],
  [
    "a client that imports the platform",
    "client/a.ts",
    importing("../platform/errors.ts"),
    /the client imports only/,
  ],
  ["a client that imports Node", "client/a.ts", importing("node:net"), /the client imports only/],
  ["a vendor outside its fence", "services/server/a.ts", importing("amqplib"), /is fenced into/],
  ["a re-exported vendor", "platform/a.ts", `export { a } from "ioredis";\n`, /is fenced into/],
  [
    "a composition of processes",
    "services/all.ts",
    importing("./auth/main.ts"),
    /composes services, not processes/,
  ],
  [
    "product code that imports a test",
    "platform/a.ts",
    importing("../test/world.ts"),
    /only tests import tests/,
  ],
  ["an index", "platform/index.ts", "export const a = 1;\n", /is a barrel/],
  ["a barrel by another name", "platform/a.ts", `export * from "./b.ts";\n`, /is a barrel/],
  ["mutable module state", "platform/a.ts", "let count = 0;\n", /mutable module state/],
  [
    "a service without a door",
    "services/extra/service.ts",
    "export const a = 1;\n",
    /services\/extra\/main\.ts is missing/,
  ],
];

for (const [title, path, source, says] of forbidden) {
  test(`this test would see ${title}`, () => {
    assert.match(breaches(tree({ [path]: source })).join("\n"), says);
  });
}

test("this test would see a cycle", () => {
  const sources = tree({
    "platform/a.ts": importing("./b.ts"),
    "platform/b.ts": importing("./c.ts"),
    "platform/c.ts": importing("./a.ts"),
  });
  assert.deepEqual(breaches(sources), [
    "cycle: platform/a.ts → platform/b.ts → platform/c.ts → platform/a.ts",
  ]);
});

test("every form of import is seen", () => {
  const forms = [
    `import "a";`,
    `import b from "b";`,
    `import type {\n  C,\n} from "c";`,
    `export * from "d";`,
    `export { e } from "e";`,
    `const f = await import("f");`,
  ];
  assert.deepEqual(importsOf(forms.join("\n")).sort(), ["a", "b", "c", "d", "e", "f"]);
});
