import { createConsoleSms } from "./console.ts";
import { smsSuite } from "./sms.suite.ts";
import type { Sms } from "./sms.ts";

smsSuite("console", {
  async open(t) {
    const arrived: Sms[] = [];
    const sender = createConsoleSms((line) => {
      const [, phone = "", text = ""] = /^SMS to (\S+): ([\s\S]*)$/.exec(line) ?? [];
      arrived.push({ phone, text, smsId: "" });
    });
    t.after(() => sender.close());
    return { sender, arrived: () => arrived };
  },
});
