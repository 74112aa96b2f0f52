import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { bucketOf } from "#platform/buckets/bucket.ts";
import { startAll } from "../services/all.ts";
import { runBuckets } from "../services/buckets.ts";
import { startTestPostgres } from "./backends/postgres.ts";
import { people, text } from "./world/people.ts";

const { url, logUrls, logs } = await startTestPostgres({ after }, { logs: 2, max: 2 });
const dataDir = await mkdtemp(join(tmpdir(), "lucky-moving-"));
after(() => rm(dataDir, { recursive: true, force: true }));
const env = { LUCKY_LOG_LEVEL: "silent", LUCKY_POSTGRES_LOG_URLS: logUrls.join(",") };

test("while buckets move, messages flow and every device gets each of them once", {
  timeout: 120_000,
}, async (t) => {
  const all = await startAll({
    env: {
      ...env,
      LUCKY_DATA_DIR: dataDir,
      LUCKY_GATEWAY_PORT: "0",
      LUCKY_CONNECT_PORT: "0",
      LUCKY_AUTH_PASSWORD_KEY_BITS: "2048",
      LUCKY_AUTH_HASH_MEMORY_KIB: "8192",
      LUCKY_AUTH_HASH_ITERATIONS: "1",
      LUCKY_POSTGRES_URL: url,
    },
  });
  t.after(() => all.stop());
  const [ana, ben] = await people(all, "ana", "ben");
  const [a, b] = [await ana!.clientDevice(), await ben!.clientDevice()];
  for (const { client } of [a, b]) await client.connect();
  const { group } = await a.client.groups.createGroup({ name: "g", userIds: [ben!.userId] });
  const targets = [{ conversationId: group!.groupId }, { userId: ben!.userId }] as const;
  const first = await a.client.send(targets[1], text("first"));
  const conversations = [group!.groupId, first.conversationId];
  const buckets = conversations.map(bucketOf).join(",");

  let moving = true;
  const sent: string[] = [];
  const sending = targets.map(async (target, at) => {
    for (let n = 0; moving; n++) {
      await a.client.send(target, text(`${at}-${n}`));
      sent.push(`${at}-${n}`);
    }
  });
  const { signal } = new AbortController();
  const move = (to: string) => runBuckets(["move", buckets, "--to", to], { env, signal });
  try {
    // The second move takes both buckets from their current databases.
    for (const to of ["2", "1", "2"]) await move(to);
  } finally {
    moving = false;
  }
  await Promise.all(sending);
  const arrived = new Set<string>();
  await b.until(() => {
    for (const one of b.texts()) arrived.add(one);
    return sent.every((one) => arrived.has(one));
  });
  assert.equal(b.texts().length, new Set(b.texts()).size);
  const rows = "SELECT sequence FROM im.entry WHERE conversation_id = $1 ORDER BY 1";
  for (const id of conversations) {
    assert.equal((await logs[0]!.query(rows, [id])).rowCount, 0);
    const sequences = (await logs[1]!.query(rows, [id])).rows.map(({ sequence }) =>
      Number(sequence),
    );
    assert.deepEqual(
      sequences,
      sequences.map((_, at) => at + 1),
    );
    assert.deepEqual(
      b.sequences(id).toSorted((x, y) => x - y),
      sequences.slice(-b.sequences(id).length),
    );
  }

  // The history is read from the new database.
  for (const conversationId of conversations) {
    const position = { case: "afterSequence", value: 0n } as const;
    const page = await b.client.messages.listEntries({ conversationId, position, pageSize: 1 });
    assert.equal(page.entries[0]!.sequence, 1n);
  }
  for (const one of [ana, ben]) await one!.closeDevices();
});
