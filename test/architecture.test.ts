import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { breaches } from "./architecture/breaches.ts";
import { housesOf, pictureOf, roomBreaches, roomNames } from "./architecture/rooms.ts";
import { importsOf } from "./architecture/sources.ts";

const root = join(import.meta.dirname, "..");
const FOLDERS = ["platform", "services", "client", "bench", "scripts", "test"];

const sources = new Map(
  globSync(`{${FOLDERS.join(",")}}/**/*.ts`, { cwd: root })
    .filter((path) => !path.startsWith("client/dist/"))
    .map((path) => [path, readFileSync(join(root, path), "utf8")]),
);
const page = readFileSync(join(root, "docs/architecture.md"), "utf8");

test("imports point one way, vendors stay behind their fences, no file is too long", () => {
  assert.ok(sources.size > 50, "the sources were not found");
  assert.deepEqual(breaches(sources), []);
});

test("rooms do not import each other in a cycle, and none is too full", () => {
  assert.deepEqual(roomBreaches(sources), []);
});

for (const house of housesOf(sources).filter((name) => roomNames(sources, name).length > 0)) {
  test(`the architecture page has the picture of ${house} and a row for each of its rooms`, () => {
    const picture = pictureOf(sources, house);
    assert.ok(page.includes(picture), `docs/architecture.md lacks this picture:\n${picture}`);
    for (const room of roomNames(sources, house)) {
      assert.match(page, new RegExp(`^\\| \`${house}/${room}\` \\| \\S`, "m"));
    }
  });
}

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
    "client/index.ts": `export * from "./a.ts";\n`,
    "client/a.ts": importing("../gen/x_pb.js", "@connectrpc/connect-web", "./b.ts"),
  });
  assert.deepEqual(breaches(sources), []);
});

const forbidden: [title: string, path: string, source: string, says: RegExp][] = [
  [
    "a service that imports a service",
    "services/auth/login.ts",
    importing("../server/append.ts"),
    /^services\/auth\/login\.ts imports services\/server\/append\.ts: a service never imports/,
  ],
  [
    "a service that imports a service dynamically",
    "services/auth/login.ts",
    `export const load = () => import("../server/append.ts");\n`,
    /a service never imports another/,
  ],
  [
    "a service's test that imports a service",
    "services/auth/login.test.ts",
    importing("../server/append.ts"),
    /a service never imports another/,
  ],
  [
    "a service file that imports its service",
    "services/auth/login.ts",
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
    "services/auth/login.ts",
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
  ["pg outside its fence", "services/server/a.ts", importing("pg"), /is fenced into/],
  [
    "generated Prisma code outside its fence",
    "services/auth/login.ts",
    importing("#gen/prisma/client.ts"),
    /is fenced into/,
  ],
  ["a long file", "platform/a.ts", `${"// x\n".repeat(350)}const a = 1;\n`, /has 351 lines/],
  [
    "an index in a room of the client",
    "client/rpc/index.ts",
    "export const a = 1;\n",
    /is a barrel/,
  ],
  ["an index", "platform/index.ts", "export const a = 1;\n", /is a barrel/],
  ["a barrel by another name", "platform/a.ts", `export * from "./b.ts";\n`, /is a barrel/],
  ["mutable module state", "platform/a.ts", "let count = 0;\n", /mutable module state/],
  [
    "a service without an entry file",
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

/** The breaches that the room rules find in a tree with these files. */
function found(files: Record<string, string>): string {
  return roomBreaches(tree(files)).join("\n");
}

test("this test would see rooms that import each other", () => {
  const files = {
    "services/auth/log/a.ts": importing("../send/b.ts"),
    "services/auth/log/c.ts": "export const c = 1;\n",
    "services/auth/send/b.ts": "export const b = 1;\n",
    "services/auth/send/d.ts": importing("../log/c.ts"),
  };
  assert.match(found(files), /services\/auth\/log → services\/auth\/send → services\/auth\/log/);
});

test("this test would see a room that imports a file above it", () => {
  const files = {
    "services/auth/log/a.ts": importing("../handlers.ts"),
    "services/auth/handlers.ts": importing("./log/c.ts"),
    "services/auth/log/c.ts": "export const c = 1;\n",
  };
  assert.match(found(files), /rooms import each other: .*services\/auth\/handlers\.ts/);
});

test("this test would see a room that is too full", () => {
  const names = Array.from({ length: 16 }, (_, at) => `platform/log/a${at}.ts`);
  const files = Object.fromEntries(names.map((name) => [name, "export const a = 1;\n"]));
  assert.match(found(files), /platform\/log has 16 source files/);
});

test("a picture has an arrow for each direct import of a room, and none that follows from others", () => {
  const sources = tree({
    "services/auth/send/a.ts": importing("../log/a.ts", "../ids/a.ts"),
    "services/auth/log/a.ts": importing("../ids/a.ts", "../config.ts"),
    "services/auth/ids/a.ts": "export const a = 1;\n",
  });
  assert.equal(
    pictureOf(sources, "services/auth"),
    ["```mermaid", "flowchart TD", "  ids", "  log --> ids", "  send --> log", "```"].join("\n"),
  );
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
