import assert from "node:assert/strict";
import { test } from "node:test";
import { type Start, take, watched } from "./transport.fixture.ts";

/** Log lines, metrics and request ids. */
export function observationSuite(name: string, start: Start): void {
  test(`${name}: a stream is counted and logged once, at its end`, async (t) => {
    const { auth, lines, metrics } = await start(t, {
      auth: {
        async *watchQrLogin() {
          yield {};
          yield {};
        },
      },
    });
    const headers = { "x-request-id": "r-9" };
    assert.equal((await take(auth.watchQrLogin(watched, { headers }))).length, 2);
    const logged = lines.filter(({ event }) => event === "rpc");
    assert.deepEqual(
      logged.map(({ method, code, requestId }) => ({ method, code, requestId })),
      [{ method: "lucky.auth.v1.AuthService/WatchQrLogin", code: "ok", requestId: "r-9" }],
    );
    assert.match(
      await metrics.text(),
      /lucky_rpc_requests_total\{method="lucky.auth.v1.AuthService\/WatchQrLogin",code="ok"\} 1/,
    );
  });

  test(`${name}: a call is counted, timed and logged once, under its request id`, async (t) => {
    const ids: (string | null)[] = [];
    const { auth, metrics, lines } = await start(t, {
      auth: {
        getJwks(_request, { requestHeader }) {
          ids.push(requestHeader.get("x-request-id"));
          return {};
        },
      },
    });
    let answered: string | null = null;
    await auth.getJwks(
      {},
      {
        headers: { "x-request-id": "r-1" },
        onHeader: (header) => {
          answered = header.get("x-request-id");
        },
      },
    );
    await auth.getJwks({}, { headers: { "x-request-id": "no such id: too strange" } });
    assert.equal(ids[0], "r-1");
    assert.equal(answered, "r-1");
    assert.match(ids[1] ?? "", /^[0-9a-f-]{36}$/);
    const logged = lines.filter(({ event }) => event === "rpc");
    assert.deepEqual(
      logged.map(({ method, code, requestId }) => ({ method, code, requestId })),
      ids.map((requestId) => ({
        method: "lucky.auth.v1.AuthService/GetJwks",
        code: "ok",
        requestId,
      })),
    );
    const text = await metrics.text();
    assert.match(
      text,
      /lucky_rpc_requests_total\{method="lucky.auth.v1.AuthService\/GetJwks",code="ok"\} 2/,
    );
    assert.match(text, /lucky_rpc_seconds_count\{method="lucky.auth.v1.AuthService\/GetJwks"\} 2/);
  });
}
