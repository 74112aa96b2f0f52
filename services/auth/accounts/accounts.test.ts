import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { refused } from "../auth.suite.ts";
import { type Database, openDatabase } from "../database.ts";
import { createColumnEncryption } from "../keys/column-encryption.ts";
import type { Keyring } from "../keys/keyring.ts";
import { createAccounts } from "./accounts.ts";

const { pool } = await startTestPostgres({ after });
const database = openDatabase(pool);
after(() => database.$disconnect());
const keys = { access: [], password: [], code: [], data: [], index: [], userId: [] };
const doNothing = async () => {};
const keyring: Keyring = {
  keys,
  onChange() {},
  rotate: doNothing,
  reloadIfChanged: doNothing,
  reloadIfStale: doNothing,
};
const columns = createColumnEncryption({ keyring, clock: new ManualClock() });

const accountOf = (userId: bigint, userName: string) => ({
  userId,
  userName,
  displayName: userName,
  passwordHash: "x",
  createdAt: new Date(0),
});

for (const [other, reason] of [
  ["Racer", ErrorReason.USER_NAME_TAKEN],
  ["r\u0430cer", ErrorReason.USER_NAME_CONFUSABLE],
] as const)
  test(`when racer registers between two queries of ${other}, the result is ${ErrorReason[reason]}`, async () => {
    for (let before = 0; before < 3; before++) {
      await pool.query("TRUNCATE auth.account CASCADE");
      let queries = 0;
      const between = database.$extends({
        query: {
          async $allOperations({ args, query }) {
            if (queries++ === before)
              await createAccounts({ database, columns }).create(accountOf(1n, "racer"));
            return query(args);
          },
        },
      }) as unknown as Database;
      const { create } = createAccounts({ database: between, columns });
      await refused(create(accountOf(2n, other)), reason);
      assert.ok(queries > before);
    }
  });

test("an id that another registration took in a race is refused with UNAVAILABLE, for a retry", async () => {
  await pool.query("TRUNCATE auth.account CASCADE");
  const { create } = createAccounts({ database, columns });
  await create(accountOf(7n, "first"));
  await refused(create(accountOf(7n, "second")), ErrorReason.UNAVAILABLE);
});
