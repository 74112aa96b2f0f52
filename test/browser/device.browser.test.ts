import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Page } from "playwright-core";
import { type ClientDevice, PASSWORD, Person } from "../world/people.ts";
import { startWorld } from "../world/world.ts";
import { bundleDevice } from "./bundles.ts";
import { startBrowser } from "./chromium.ts";
import type {} from "./page/device.ts";

/** Longer than an interval of heartbeats, and shorter than two, ms. */
const SILENCE_MS = 26_000;

const [world, browser, script] = await Promise.all([
  startWorld({ after }, { mode: "embedded" }),
  startBrowser({ after }),
  bundleDevice(),
]);

/** Two users: one with a device in the test, one with a device in a page. */
async function pair(options: { hidden?: boolean } = {}) {
  const [ana, ben] = [await Person.register(world, "ana"), await Person.register(world, "ben")];
  const peer = await ana.clientDevice();
  await peer.client.connect();
  const page = await browser.open(script);
  const login = { userName: ben.userName, password: PASSWORD };
  await start(page, { login, ...options });
  const write = (text: string) => peer.client.send({ userId: ben.userId }, text);
  return { ana, ben, peer, page, write };
}

function start(page: Page, options: object): Promise<void> {
  return page.evaluate((all) => luckyDevice.start(all), { url: world.url, ...options });
}

async function end(page: Page, peer: ClientDevice): Promise<void> {
  await Promise.all([page.close(), peer.client.close()]);
}

test("a page logs in, connects, sends and receives", async () => {
  const { ana, ben, peer, page, write } = await pair();
  const sent = await page.evaluate((id) => luckyDevice.send(id, "from the page"), ana.userId);
  assert.equal(sent, "1");
  await peer.until(() => peer.texts(undefined, ben.userId).includes("from the page"));
  await write("to the page");
  assert.deepEqual(await page.evaluate(() => luckyDevice.received(1)), ["to the page"]);
  await end(page, peer);
});

test("a reloaded page resumes its login and its logs from IndexedDB: nothing twice, nothing lost", async () => {
  const { ana, peer, page, write } = await pair();
  await write("before");
  await page.evaluate(() => luckyDevice.received(1));
  await page.evaluate(() => luckyDevice.stored());
  await page.reload();
  for (const text of ["while away", "also while away"]) await write(text);
  await page.addScriptTag({ content: script });
  await start(page, {});
  const missed = ["while away", "also while away"];
  assert.deepEqual(await page.evaluate(() => luckyDevice.received(2)), missed);
  await write("after");
  assert.deepEqual(await page.evaluate(() => luckyDevice.received(3)), [...missed, "after"]);
  assert.equal(await page.evaluate((id) => luckyDevice.send(id, "5"), ana.userId), "5");
  await end(page, peer);
});

test("a hidden tab whose timers do not run keeps its session, because the browser answers pings", {
  timeout: 60_000,
}, async () => {
  const { peer, page, write } = await pair({ hidden: true });
  for (let round = 1; round <= 4; round++) {
    await world.clock.advance(SILENCE_MS);
    // The browser has answered the ping before it gives the next message to the page.
    await write(`round ${round}`);
    const seen = await page.evaluate((count) => luckyDevice.received(count), round);
    assert.equal(seen.at(-1), `round ${round}`);
    await page.evaluate((url) => fetch(`${url}/healthz`).then(({ status }) => status), world.url);
  }
  assert.deepEqual(await page.evaluate(() => luckyDevice.states), ["connecting", "open"]);
  await end(page, peer);
});
