import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startTestPostgres } from "../../test/postgres.ts";
import { accepted, Stand, toConversation, toUser } from "./server.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 8 });

test("what waits behind a send that failed does not overtake its repetition", async (t) => {
  let failures = 0;
  const flaky = Object.create(pool, {
    connect: {
      value: () => (failures-- > 0 ? Promise.reject(new Error("away")) : pool.connect()),
    },
  });
  const one = await new Stand(t, flaky).server({ laneBatchCount: 1 });
  const [made] = await one.append({ from: "1", to: toUser("2"), key: "m0", text: "m0" });
  const to = toConversation(accepted(made).conversationId);
  const batch = ["m1", "m2", "m3"].map((key) => ({ from: "1", to, key, text: key }));
  failures = 1;
  await assert.rejects(one.append(...batch));
  const sequences = (await one.append(...batch)).map((result) => accepted(result).sequence);
  assert.deepEqual(sequences, [2, 3, 4]);
});
