import assert from "node:assert/strict";
import { test } from "node:test";
import { Emitter } from "./events.ts";

test("waiting for an event ends with its signal, even if that aborted earlier", async () => {
  const emitter = new Emitter<{ news: number }>();
  const over = new AbortController();
  const waiting = emitter.next("news", undefined, over.signal);
  over.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
  await assert.rejects(emitter.next("news", undefined, over.signal), /enough/);
});

test("an event that arrived in time resolves once, and a later abort changes nothing", async () => {
  const emitter = new Emitter<{ news: number }>();
  const over = new AbortController();
  const waiting = emitter.next("news", (news) => news > 1, over.signal);
  for (const news of [1, 2, 3]) emitter.emit("news", news);
  over.abort();
  assert.equal(await waiting, 2);
});
