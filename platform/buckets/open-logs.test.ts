import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { after, test } from "node:test";
import { databaseUnavailable } from "#platform/postgres/unavailable.ts";
import { quiet, startTestPostgres } from "../../test/backends/postgres.ts";
import { openLogs } from "./open-logs.ts";

const { logUrls, logs } = await startTestPostgres({ after }, { logs: 2 });

test("a database that is away at the start is checked when it answers first", async (t) => {
  const real = new URL(logUrls[1]!);
  let away = true;
  const sockets = new Set<Socket>();
  const proxy = createServer((socket) => {
    sockets.add(socket.on("error", () => {}));
    if (away) return void socket.destroy();
    const onward = connect(Number(real.port), real.hostname);
    sockets.add(onward.on("error", () => {}));
    socket.pipe(onward).pipe(socket);
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  t.after(() => {
    proxy.close();
    for (const socket of sockets) socket.destroy();
  });
  const behind = new URL(real);
  behind.hostname = "127.0.0.1";
  behind.port = String((proxy.address() as { port: number }).port);
  const addresses = [logUrls[0]!, behind.href].map((url, at) => ({
    url,
    variable: `URL ${at + 1}`,
  }));
  const options = { home: addresses[0]!, max: 4, log: quiet, name: "test" };
  const pools = await openLogs(addresses, options);
  t.after(() => Promise.all(pools.map((one) => one.end())));
  const [, pool] = pools;

  const name = real.pathname.slice(1);
  await logs[1]!.query(`ALTER DATABASE ${name} SET synchronous_commit = off`);
  away = false;
  // Twice: the check is repeated after its failure.
  for (const _ of [1, 2])
    await assert.rejects(pool!.query("SELECT 1"), (error: Error) => {
      assert.match(error.message, /\(URL 2\) have synchronous_commit = off/);
      assert.ok(databaseUnavailable(error));
      return true;
    });
  await logs[1]!.query(`ALTER DATABASE ${name} RESET synchronous_commit`);
  assert.equal((await pool!.query("SELECT 1 AS one")).rows[0].one, 1);
});

test("the databases open while the connections to one of them are ended", async () => {
  const addresses = logUrls.map((url, at) => ({ url, variable: `URL ${at + 1}` }));
  let open = true;
  const ending = (async () => {
    while (open)
      await logs[0]!.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
        [new URL(logUrls[1]!).pathname.slice(1)],
      );
  })();
  for (let round = 0; round < 10; round++) {
    const pools = await openLogs(addresses, { home: addresses[0]!, max: 2, log: quiet, name: "x" });
    await Promise.all(pools.map((pool) => pool.end()));
  }
  open = false;
  await ending;
});
