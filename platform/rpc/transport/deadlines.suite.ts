import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { untilAborted } from "#platform/rpc/rpc.fixture.ts";
import { refused, type Start, take, watched } from "./transport.fixture.ts";

/** Deadlines and cancellation of unary calls. */
export function deadlineSuite(name: string, start: Start): void {
  test(`${name}: a deadline ends the call on both sides, even if the work ignores its signal`, async (t) => {
    const aborted = Promise.withResolvers<void>();
    let left: number | undefined;
    const { auth } = await start(t, {
      auth: {
        getPublicKey: (_request, { signal, timeoutMs }) => {
          left = timeoutMs();
          signal.addEventListener("abort", () => aborted.resolve());
          return new Promise(() => {});
        },
      },
    });
    // Long enough for the work to begin on a busy machine.
    const error = await refused(auth.getPublicKey({}, { timeoutMs: 1_000 }));
    assert.equal(error.code, Code.DeadlineExceeded);
    assert.ok(left !== undefined && left > 0 && left <= 1_000, `${left}`);
    await aborted.promise;
  });

  test(`${name}: a caller that aborts cancels the work`, async (t) => {
    const began = Promise.withResolvers<void>();
    const aborted = Promise.withResolvers<void>();
    const { auth } = await start(t, {
      auth: {
        getPublicKey(_request, { signal }) {
          began.resolve();
          signal.addEventListener("abort", () => aborted.resolve());
          return untilAborted(signal);
        },
      },
    });
    const controller = new AbortController();
    const call = refused(auth.getPublicKey({}, { signal: controller.signal }));
    await began.promise;
    controller.abort();
    assert.equal((await call).code, Code.Canceled);
    await aborted.promise;
  });

  test(`${name}: a deadline of 2^31 ms or more waits`, async (t) => {
    const { auth } = await start(t, {
      auth: {
        async getPublicKey(_request, { signal }) {
          await new Promise(setImmediate);
          return { keyId: `${signal.aborted}` };
        },
        async *watchQrLogin(_request, { signal }) {
          await new Promise(setImmediate);
          if (!signal.aborted) yield {};
        },
      },
    });
    for (const timeoutMs of [2 ** 31, 2 ** 40]) {
      assert.equal((await auth.getPublicKey({}, { timeoutMs })).keyId, "false");
      assert.equal((await take(auth.watchQrLogin(watched, { timeoutMs }))).length, 1);
    }
  });

  test(`${name}: a call without a deadline gets ten seconds`, async (t) => {
    let left: number | undefined;
    const { auth } = await start(t, {
      auth: {
        getPublicKey(_request, { timeoutMs }) {
          left = timeoutMs();
          return {};
        },
      },
    });
    await auth.getPublicKey({});
    assert.ok(left !== undefined && left > 5_000 && left <= 10_000);
  });
}
