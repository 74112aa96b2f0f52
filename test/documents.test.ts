import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { CloseCodeSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import { SERVICES } from "#platform/rpc/contract.ts";
import { isInternal, rulesOf } from "#platform/rpc/rules.ts";

const root = join(import.meta.dirname, "..");
const pages = globSync(["*.md", "docs/**/*.md"], { cwd: root });
const textOf = (page: string) => readFileSync(join(root, page), "utf8");

/** Targets of the links on a page: a path, an anchor, or both. */
function linksOf(page: string): { path: string; anchor: string }[] {
  const found = [...textOf(page).matchAll(/\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)/g)];
  return found.map(([, path = "", anchor = ""]) => ({
    path: path === "" ? page : join(dirname(page), path),
    anchor,
  }));
}

/** Anchors of a page's headings, as GitHub makes them. */
function anchorsOf(page: string): string[] {
  return [...textOf(page).matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

test("every link in the documents leads to a file, and every anchor to a heading", () => {
  assert.ok(pages.length > 20, "the pages were not found");
  const broken = pages.flatMap((page) =>
    linksOf(page)
      .filter(({ path, anchor }) => {
        if (!existsSync(join(root, path))) return true;
        return anchor !== "" && !anchorsOf(path).includes(anchor);
      })
      .map(({ path, anchor }) => `${page} links to ${path}#${anchor}`),
  );
  assert.deepEqual(broken, []);
});

test("every source file, folder and test that the documents name exists", () => {
  const named = /`((?:platform|services|client|bench|test|scripts|proto|docs|prisma)\/[\w./-]+)`/g;
  const suites = /`((?:stories|auth|gateway|connect|server|platform)\/[\w/-]+)(\.test)?`/g;
  const missing = pages.flatMap((page) => {
    const text = textOf(page);
    const paths = [...text.matchAll(named)].map(([, path = ""]) => path);
    const gone = paths.filter(
      (path) => !existsSync(join(root, path)) && !existsSync(join(root, `${path}.ts`)),
    );
    const tests = page === "docs/security.md" ? [...text.matchAll(suites)] : [];
    const goneTests = tests
      .map(([, name = ""]) => name)
      .filter((name) => {
        const folder = /^(stories)\//.test(name)
          ? "test"
          : /^platform\//.test(name)
            ? ""
            : "services";
        return !existsSync(join(root, folder, `${name}.test.ts`));
      });
    return [...gone, ...goneTests].map((name) => `${page} names ${name}`);
  });
  assert.deepEqual(missing, []);
});

test("every alert links to a paragraph of the runbook", () => {
  const rules = textOf("k8s/watch/prometheus/rules/lucky.yml");
  const links = [...rules.matchAll(/runbook_url: \S+\/(docs\/runbook\.md)#(\S+)$/gm)];
  assert.equal(links.length, rules.match(/^ +- alert: /gm)?.length);
  const missing = links.filter(([, page = "", anchor = ""]) => !anchorsOf(page).includes(anchor));
  assert.deepEqual(
    missing.map(([, , anchor]) => anchor),
    [],
  );
});

test("the protocol says what a repeat of every call does that changes something", () => {
  const [section = ""] =
    /^## Keys and retries of calls$[\s\S]*?(?=^## )/m.exec(textOf("docs/protocol.md")) ?? [];
  const reads = [LimitClass.READ, LimitClass.SEARCH];
  const changing = SERVICES.filter((service) => !isInternal(service))
    .flatMap(({ methods }) => methods)
    .filter((method) => !reads.includes(rulesOf(method).limit));
  assert.ok(changing.length > 25, `${changing.length} methods`);
  const missing = changing.filter(({ name }) => !section.includes(`\`${name}\``));
  assert.deepEqual(
    missing.map(({ name }) => name),
    [],
  );
});

test("docs/protocol.md lists every close code with its number and its range", () => {
  const rows = [...textOf("docs/protocol.md").matchAll(/^\| (4\d{3}) \| ([A-Z_]+) \|/gm)];
  const codes = CloseCodeSchema.values.filter(({ number }) => number !== 0);
  assert.deepEqual(
    rows.map(([, number, name]) => [Number(number), name]),
    codes.map(({ number, localName }) => [number, localName]),
  );
});

test("docs/protocol.md lists every HTTP status with which an upgrade is answered", () => {
  const sources = [
    "services/gateway/tunnel.ts",
    "services/gateway/upgrade-check.ts",
    "services/gateway/fallback.ts",
    "services/connect/socket/socket-server.ts",
    "platform/rpc/serving/http1.ts",
  ];
  const statuses = sources.flatMap((source) =>
    [...textOf(source).matchAll(/"([1-5]\d\d) [A-Z]|writeHead\(([1-5]\d\d)/g)].map(
      ([, line, number]) => line ?? number,
    ),
  );
  const documented = [...textOf("docs/protocol.md").matchAll(/^\| ([1-5]\d\d) \|/gm)];
  const answers = new Set(["101", ...statuses]);
  // The answer to a request that is not for the WebSocket.
  answers.delete("200");
  assert.deepEqual(
    documented.map(([, status]) => status),
    [...answers].toSorted(),
  );
});
