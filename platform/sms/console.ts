import type { SmsSender } from "./sms.ts";

/**
 * Prints messages instead of sending them: for development. `print` is the destination; it is not the
 * log, so that no log contains a code.
 */
export function createConsoleSms(print: (line: string) => void = console.log): SmsSender {
  return {
    async send({ phone, text }) {
      print(`SMS to ${phone}: ${text}`);
    },
    async close() {},
  };
}
