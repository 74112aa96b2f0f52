import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { systemClock } from "#platform/clock.ts";
import { createLog } from "#platform/log.ts";
import { exchange } from "#platform/rpc/serving/listen.fixture.ts";
import { listen } from "#platform/rpc/serving/listen.ts";
import { PAGE_FILES } from "./page-files.ts";
import { createPages } from "./pages.ts";

const log = createLog({ service: "gateway", instanceId: "test", level: "silent" });
const pages = createPages({ clock: systemClock, log });
const common = { host: "127.0.0.1", port: 0, log, served: [], interceptors: [] };
const server = await listen({ ...common, pages });
after(() => server.close());
const base = `http://127.0.0.1:${server.port}`;
const plain = { "accept-encoding": "identity" };

test("every file is served with its type, an ETag and a policy that allows only files of this gateway", async () => {
  for (const [name, { contentType, path }] of PAGE_FILES) {
    const response = await fetch(`${base}/docs/${name}`, { headers: plain });
    assert.equal(response.status, 200, name);
    assert.equal(response.headers.get("content-type"), contentType);
    assert.equal(response.headers.get("x-content-type-options"), "nosniff");
    const policy = response.headers.get("content-security-policy") ?? "";
    assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self';/);
    assert.doesNotMatch(policy, /unsafe|http|\*/);
    assert.equal(await response.text(), readFileSync(path, "utf8"), name);
  }
});

test("the pages have no inline script or style, and load nothing from elsewhere", () => {
  for (const [name, { contentType, path }] of PAGE_FILES) {
    if (!contentType.startsWith("text/html")) continue;
    const html = readFileSync(path, "utf8");
    assert.doesNotMatch(
      html,
      /<script(?! src="[\w.-]+"><\/script>)|<style|\sstyle=|\son\w+=/,
      name,
    );
    for (const [, target = ""] of html.matchAll(
      /<(?:script|link|img)[^>]* (?:src|href)="([^"]*)"/g,
    )) {
      assert.ok(target === "data:," || PAGE_FILES.has(target), `${name} loads ${target}`);
    }
    for (const [, link = ""] of html.matchAll(/<a href="(?!https?:)([^"#]*)/g)) {
      assert.ok(link === "" || PAGE_FILES.has(link.replace("./", "")), `${name} links to ${link}`);
    }
  }
});

test("a browser gets the file compressed, and asks only whether its copy has changed", async () => {
  const response = await fetch(`${base}/docs/openapi.json`);
  assert.equal(response.headers.get("content-encoding"), "gzip");
  assert.equal(response.headers.get("vary"), "accept-encoding");
  assert.ok(Number(response.headers.get("content-length")) < 100_000);
  assert.equal(((await response.json()) as { openapi: string }).openapi, "3.1.0");
  const etag = response.headers.get("etag")!;
  const again = await fetch(`${base}/docs/openapi.json`, { headers: { "if-none-match": etag } });
  assert.equal(again.status, 304);
  assert.equal(await again.text(), "");
});

test("caches do not reuse a file of one origin for another one", async (t) => {
  const cors = ["https://a.example"];
  const one = await listen({ ...common, cors, pages });
  t.after(() => one.close());
  const response = await fetch(`http://127.0.0.1:${one.port}/docs/openapi.json`, {
    headers: { origin: "https://a.example" },
  });
  assert.equal(response.headers.get("access-control-allow-origin"), "https://a.example");
  assert.equal(response.headers.get("vary"), "Origin, accept-encoding");
});

test("HEAD has the headers alone, another method is refused, and /docs leads to /docs/", async () => {
  const head = await fetch(`${base}/docs/errors.html`, { method: "HEAD", headers: plain });
  assert.equal(head.status, 200);
  const { length } = readFileSync(PAGE_FILES.get("errors.html")!.path);
  assert.equal(head.headers.get("content-length"), String(length));
  const post = await fetch(`${base}/docs/`, { method: "POST", body: "x" });
  assert.equal(post.status, 405);
  assert.equal(post.headers.get("allow"), "GET, HEAD");
  assert.equal((await fetch(`${base}/docs`)).url, `${base}/docs/`);
});

test("paths that lead out of the folder, and all other paths, are not found", async () => {
  for (const path of [
    "/docs/../package.json",
    "/docs/%2e%2e/package.json",
    "/docs/..%2fpackage.json",
    "/docs/assets/pages.css",
    "/docs//protocol.html",
    "/docs/protocol.html/",
    "/docs/index.html",
    "/docs/__proto__",
    "/docsx",
  ]) {
    const head = `GET ${path} HTTP/1.1\r\nHost: lucky\r\nConnection: close\r\n\r\n`;
    assert.match(await exchange(server.port, head), /^HTTP\/1\.1 404 /, path);
  }
});

test("the pages are served over HTTP/2, too", async (t) => {
  const session = connectHttp2(base);
  t.after(() => session.destroy());
  const stream = session.request({ ":path": "/docs/", "accept-encoding": "gzip;q=0.5, br" });
  const [headers] = await once(stream, "response");
  assert.equal(headers[":status"], 200);
  const chunks = await stream.toArray();
  assert.match(gunzipSync(Buffer.concat(chunks)).toString(), /<title>Methods – Lucky/);
  const missing = session.request({ ":path": "/docs/none" });
  const [refused] = await once(missing, "response");
  assert.equal(refused[":status"], 404);
  assert.equal(await text(missing), "");
});
