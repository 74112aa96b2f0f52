import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type Browser, chromium, type Page } from "playwright-core";
import { findProgram } from "../../scripts/servers.ts";
import type { Teardown } from "../backends/teardown.ts";

const FLAGS = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** A Chromium, and a web server with an empty page; both end at teardown. */
export interface TestBrowser {
  /** Opens the empty page with storage of its own, and runs the script there. */
  open(script: string): Promise<Page>;
}

export async function startBrowser(t: Teardown): Promise<TestBrowser> {
  const executablePath = findProgram("chromium", []);
  if (!executablePath) throw new Error("Chromium is missing: npm run test:browser installs it");
  const server = createServer((_, response) => {
    response.setHeader("content-type", "text/html").end("<!doctype html><title>test</title>");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const browser: Browser = await chromium.launch({
    executablePath,
    chromiumSandbox: false,
    args: FLAGS,
  });
  t.after(() => browser.close());
  return {
    async open(script) {
      const page = await (await browser.newContext()).newPage();
      page.on("pageerror", (error) => console.error("in the page:", error));
      await page.goto(url);
      await page.addScriptTag({ content: script });
      return page;
    },
  };
}
