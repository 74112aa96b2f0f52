import assert from "node:assert/strict";
import { test } from "node:test";
import { bundleTests, portableTests } from "./bundles.ts";
import { startBrowser } from "./chromium.ts";

/** Functions that the bundle of the tests gives to the page. */
declare const luckyTests: {
  testNames(): string[];
  runTest(at: number): Promise<string | undefined>;
};

test("the client's tests that do not need Node pass in a browser", async (t) => {
  const files = portableTests();
  const rooms = new Set(files.map((path) => path.split("/").slice(0, 2).join("/")));
  for (const room of ["connection", "logs", "messages", "sending", "rpc"])
    assert.ok(rooms.has(`client/${room}`), `no test of client/${room}`);
  assert.ok(files.includes("client/indexed-db-store.browser.test.ts"));
  const browser = await startBrowser(t);
  const page = await browser.open(await bundleTests(files));
  const names = await page.evaluate(() => luckyTests.testNames());
  assert.ok(names.length >= files.length, "the bundle lacks tests");
  for (const [at, name] of names.entries())
    await t.test(name, async () => {
      assert.equal(await page.evaluate((index) => luckyTests.runTest(index), at), undefined);
    });
});
