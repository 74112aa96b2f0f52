import { limiterSuite } from "./limiter.suite.ts";
import { createMemoryLimiter } from "./memory.ts";

limiterSuite("memory", {
  async open(t) {
    const limiter = createMemoryLimiter();
    t.after(() => limiter.close());
    return limiter;
  },
});
