import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { test } from "node:test";
import { createLog } from "#platform/log.ts";
import { migrate } from "./migrate.ts";

const log = createLog({ service: "test", instanceId: "test-0", level: "silent" });

test("the error for an unreachable database names the setting, without the password", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  await assert.rejects(migrate({ url: `postgresql://ana:secret@127.0.0.1:${port}/x`, log }), {
    name: "Error",
    message: `PostgreSQL (LUCKY_POSTGRES_URL) cannot be reached: connect ECONNREFUSED 127.0.0.1:${port}`,
  });
});
