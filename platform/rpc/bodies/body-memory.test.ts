import assert from "node:assert/strict";
import { test } from "node:test";
import { BodyMemory } from "./body-memory.ts";

function memory() {
  const evicted: string[] = [];
  const totals: number[] = [];
  const bodies = new BodyMemory({
    connectionBytes: 100,
    processBytes: 250,
    changed: (bytes) => totals.push(bytes),
  });
  const open = (name: string, connection: object) =>
    bodies.open(connection, (bound) => evicted.push(`${name} ${bound}`));
  return { open, evicted, total: () => totals.at(-1) };
}

test("a connection beyond its bound loses its largest body, and other connections lose none", () => {
  const { open, evicted, total } = memory();
  const [first, second] = [{}, {}];
  open("other", second).hold(90);
  open("small", first).hold(10);
  const large = open("large", first);
  large.hold(60);
  open("middle", first).hold(30);
  assert.deepEqual(evicted, []);
  open("last", first).hold(5);
  assert.deepEqual(evicted, ["large connection"]);
  assert.equal(total(), 90 + 10 + 30 + 5);
  large.hold(80);
  large.release();
  assert.equal(total(), 90 + 10 + 30 + 5);
});

test("beyond the bound of the process the connection that holds most loses its largest body", () => {
  const { open, evicted, total } = memory();
  const [hoarder, uploader, client] = [{}, {}, {}];
  for (const name of ["a", "b"]) open(name, hoarder).hold(50);
  open("upload", uploader).hold(95);
  const request = open("request", client);
  request.hold(54);
  assert.deepEqual(evicted, []);
  request.hold(56);
  assert.deepEqual(evicted, ["a process"]);
  assert.equal(total(), 50 + 95 + 56);
  request.release();
  request.release();
  assert.equal(total(), 50 + 95);
});

test("a body larger than every bound is evicted itself", () => {
  const { open, evicted, total } = memory();
  const body = open("huge", {});
  body.hold(1_000);
  body.hold(10);
  assert.deepEqual(evicted, ["huge connection"]);
  assert.equal(total(), 0);
});
