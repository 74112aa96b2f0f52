import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { untilAborted } from "#platform/rpc/rpc.fixture.ts";
import { refused, type Start, take, watched } from "./transport.fixture.ts";

/** Deadlines and cancellation of streams. */
export function streamEndSuite(name: string, start: Start): void {
  for (const waiting of [true, false]) {
    const where = waiting ? "while it waits" : "between answers";
    test(`${name}: a caller that aborts a stream ${where} ends the work`, async (t) => {
      const ended = Promise.withResolvers<void>();
      const { auth, lines } = await start(t, {
        auth: {
          async *watchQrLogin(_request, { signal }) {
            try {
              yield {};
              await untilAborted(signal);
            } finally {
              ended.resolve();
            }
          },
        },
      });
      const controller = new AbortController();
      const { signal } = controller;
      const answers = auth.watchQrLogin(watched, { signal })[Symbol.asyncIterator]();
      await answers.next();
      const next = waiting ? refused(answers.next()) : undefined;
      controller.abort();
      if (next) assert.equal((await next).code, Code.Canceled);
      await ended.promise;
      await new Promise((resolve) => setImmediate(resolve));
      const line = lines.find(({ event }) => event === "rpc");
      assert.equal(line?.code, "canceled");
    });
  }

  test(`${name}: a deadline ends a stream on both sides`, async (t) => {
    const ended = Promise.withResolvers<void>();
    const { auth } = await start(t, {
      auth: {
        async *watchQrLogin(_request, { signal }) {
          try {
            yield {};
            await untilAborted(signal);
          } finally {
            ended.resolve();
          }
        },
      },
    });
    const error = await refused(take(auth.watchQrLogin(watched, { timeoutMs: 1_000 })));
    assert.equal(error.code, Code.DeadlineExceeded);
    await ended.promise;
  });
}
