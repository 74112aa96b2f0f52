import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import type { Sms, SmsSender } from "./sms.ts";

/** Creates the senders of the suite. */
export interface SmsWorld {
  /** A sender, closed when the test ends, and the messages that it has delivered. */
  open(t: TestContext): Promise<{ sender: SmsSender; arrived: () => readonly Sms[] }>;
}

/** The tests that every adapter of the sender must pass. */
export function smsSuite(name: string, world: SmsWorld): void {
  const signal = AbortSignal.timeout(60_000);

  suite(`sms: ${name}`, () => {
    test("a message arrives unchanged at its number", async (t) => {
      const { sender, arrived } = await world.open(t);
      const first = { phone: "+4915112345678", text: "Grüße: 012345 ✓", smsId: "one" };
      const second = { phone: "+14155550123", text: "two\nlines", smsId: "two" };
      await sender.send(first, signal);
      await sender.send(second, signal);
      assert.deepEqual(
        arrived().map(({ phone, text }) => ({ phone, text })),
        [first, second].map(({ phone, text }) => ({ phone, text })),
      );
    });

    test("closing twice does nothing", async (t) => {
      const { sender } = await world.open(t);
      await sender.close();
      await sender.close();
    });
  });
}
