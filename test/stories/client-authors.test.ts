import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, test } from "node:test";
import { promisify } from "node:util";
import { people } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });
const buf = join(import.meta.dirname, "../../node_modules/.bin/buf");
const run = promisify(execFile);

/** Runs buf curl without a schema, in a folder without proto/. */
async function bufCurl(...flags: string[]): Promise<string> {
  const { stdout } = await run(buf, ["curl", ...flags], { cwd: "/" });
  return stdout;
}

for (const version of ["grpc-v1", "grpc-v1alpha"]) {
  test(`buf curl lists the public methods and calls one without a schema, by ${version}`, {
    timeout: TIMEOUT,
  }, async () => {
    const reflect = ["--reflect-protocol", version, "--http2-prior-knowledge"];
    const methods = (await bufCurl(...reflect, "--list-methods", world.url)).trim().split("\n");
    assert.ok(methods.includes("lucky.message.v1.MessageService/Send"));
    assert.ok(methods.includes("lucky.admin.v1.AdminService/DisableAccount"));
    assert.deepEqual(
      methods.filter((name) => name.includes("internal")),
      [],
    );
    const [ana] = await people(world, "ana");
    const { accessToken } = await ana!.login();
    const token = ["-H", `authorization: Bearer ${accessToken}`, "-d", "{}"];
    const method = `${world.url}/lucky.auth.v1.DeviceService/ListDevices`;
    for (const protocol of ["grpc", "connect"]) {
      const answer = await bufCurl(...reflect, "--protocol", protocol, ...token, method);
      assert.equal(JSON.parse(answer).devices[0].current, true);
    }
  });
}

test("a call that the OpenAPI document describes works with the token of a user", {
  timeout: TIMEOUT,
}, async () => {
  const document = await (await fetch(`${world.url}/docs/openapi.json`)).json();
  const { paths } = document as { paths: Record<string, { post: { operationId: string } }> };
  const [path] = Object.entries(paths).find(
    ([, { post }]) => post.operationId === "DeviceService_ListDevices",
  )!;
  const [ben] = await people(world, "ben");
  const { accessToken } = await ben!.login();
  const headers = {
    authorization: `Bearer ${accessToken}`,
    "content-type": "application/json",
  };
  const answer = await fetch(world.url + path, { method: "POST", headers, body: "{}" });
  assert.equal(answer.status, 200);
  const page = await fetch(`${world.url}/docs`);
  assert.match(await page.text(), /<title>Methods – Lucky/);
});
