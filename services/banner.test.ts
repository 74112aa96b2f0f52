import assert from "node:assert/strict";
import { test } from "node:test";
import { banner } from "./banner.ts";

const running = {
  url: "http://127.0.0.1:9191",
  opsUrl: "http://127.0.0.1:9291",
  dataDir: "/data",
  embedded: true,
  startedInMs: 1,
};

test("without reflection the first call names its schema, and without pages none is shown", () => {
  const off = banner({ ...running, docs: false, reflection: false });
  assert.match(off, /npx buf curl --schema proto --protocol grpc/);
  assert.doesNotMatch(off, /list-methods|\/docs/);
  const on = banner({ ...running, docs: true, reflection: true });
  assert.match(on, /npx buf curl --protocol grpc/);
  assert.match(on, /http:\/\/127\.0\.0\.1:9191\/docs/);
});

test("with a certificate, the addresses and calls are those of TLS", () => {
  const url = "https://127.0.0.1:9191";
  const text = banner({ ...running, url, docs: true, reflection: true });
  assert.match(text, /wss:\/\/127\.0\.0\.1:9191\/ws/);
  assert.doesNotMatch(text, / http:\/\/127\.0\.0\.1:9191|ws:\/\/|prior-knowledge/);
});
