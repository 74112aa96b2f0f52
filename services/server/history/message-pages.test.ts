import assert from "node:assert/strict";
import { after, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import type { ListMessagesRequest } from "#gen/lucky/message/v1/history_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { random } from "../random.fixture.ts";
import { accepted, type RunningServer, Stand, say } from "../server.fixture.ts";
import { textOf } from "../subscriber.fixture.ts";
import { selectMessagesBefore } from "./message-rows.ts";

const { pool } = await startTestPostgres({ after }, { max: 8 });

const LAST = 9_007_199_254_740_991n;

/** Appends texts of one user to a direct conversation; returns its id. */
async function conversationOf(one: RunningServer, from: string, to: string, texts: string[]) {
  const results = await one.append(...texts.map((text) => say(from, to, text)));
  return accepted(results[0]).conversationId;
}

/** Appends entries that are changes, as many as given. */
async function addChanges(conversationId: string, count: number): Promise<void> {
  const body = toBinary(
    EntrySchema,
    create(EntrySchema, {
      content: { kind: { case: "pin", value: { targetSequence: 1n } } },
      notShown: true,
      notCounted: true,
    }),
  );
  await pool.query(
    `WITH moved AS (
       UPDATE im.conversation SET last_sequence = last_sequence + $2 WHERE conversation_id = $1
       RETURNING last_sequence - $2 AS base, last_countable
     ), shown AS (
       SELECT coalesce((SELECT shown_sequence FROM im.change WHERE conversation_id = $1 AND sequence = base), base)
              AS sequence FROM moved
     ), stored AS (
       INSERT INTO im.entry (conversation_id, sequence, message_id, sender_id, kind, countable, accepted_at_ms, body)
       SELECT $1, base + n, base + n + $1::bigint, 1, 23, last_countable, 0, $3 FROM moved, generate_series(1, $2::int) n
     )
     INSERT INTO im.change SELECT $1, base + n, shown.sequence FROM moved, shown, generate_series(1, $2::int) n`,
    [conversationId, count, body],
  );
}

/** Reads all pages in one direction; returns the texts of each page. */
async function pagesOf(
  one: RunningServer,
  user: string,
  request: { conversationId: string; pageSize: number; backward: boolean },
): Promise<string[][]> {
  const { conversationId, pageSize, backward } = request;
  const pages: string[][] = [];
  let position: ListMessagesRequest["position"] = backward
    ? { case: "beforeSequence", value: LAST }
    : { case: "afterSequence", value: 0n };
  for (;;) {
    const page = await one.history(user).listMessages({ conversationId, pageSize, position });
    pages.push(page.messages.map(textOf));
    const { olderBeforeSequence, newerAfterSequence, hasNewer } = page;
    if (backward ? olderBeforeSequence === 0n : !hasNewer) return pages;
    position = backward
      ? { case: "beforeSequence", value: olderBeforeSequence }
      : { case: "afterSequence", value: newerAfterSequence };
  }
}

test("ListMessages pages in both directions without changes, each message once", async (t) => {
  const one = await new Stand(t, pool).server();
  const texts: string[] = [];
  let conversationId = "";
  const next = random(7);
  for (let round = 0; round < 40; round++) {
    const more = Array.from({ length: 1 + Math.floor(next() * 5) }, (_, i) => `m${round}-${i}`);
    conversationId = await conversationOf(one, "1001", "1002", more);
    texts.push(...more);
    await addChanges(conversationId, Math.floor(next() * 12));
  }
  for (const pageSize of [1, 7, 100]) {
    const backward = await pagesOf(one, "1002", { conversationId, pageSize, backward: true });
    assert.deepEqual(backward.toReversed().flat(), texts);
    const forward = await pagesOf(one, "1002", { conversationId, pageSize, backward: false });
    assert.deepEqual(forward.flat(), texts);
    if (pageSize === 7) {
      // The log is full of changes, and yet only the last pages are short.
      assert.deepEqual(new Set(backward.slice(0, -1).map(({ length }) => length)), new Set([7]));
    }
  }
});

test("a page behind 5,000 changes reads a bounded number of entries", async (t) => {
  const one = await new Stand(t, pool).server();
  const conversationId = await conversationOf(one, "1011", "1012", ["a", "b", "c"]);
  await addChanges(conversationId, 5_000);
  await conversationOf(one, "1011", "1012", ["d"]);
  await addChanges(conversationId, 5_000);
  const [newest] = await pagesOf(one, "1012", { conversationId, pageSize: 50, backward: true });
  assert.deepEqual(newest, ["a", "b", "c", "d"], "both runs are skipped in one step each");

  const values = [conversationId, "1012", "10005", "250", "50", "1000000"];
  const text = selectMessagesBefore.text.replaceAll(/\$(\d)/g, (_, nr) => values[nr - 1]!);
  const { rows } = await pool.query(`EXPLAIN (ANALYZE, FORMAT JSON) ${text}`);
  const most = Math.max(...actualRows(rows[0]["QUERY PLAN"][0].Plan));
  assert.ok(most <= 250, `${most} rows`);

  // Forward there is no such step: pages are empty, but each call is bounded and goes on.
  const forward = await pagesOf(one, "1012", { conversationId, pageSize: 50, backward: false });
  assert.deepEqual(forward.flat(), ["a", "b", "c", "d"]);
  assert.ok(forward.length <= 12, `${forward.length} pages`);
});

interface Plan {
  "Actual Rows": number;
  "Actual Loops": number;
  Plans?: Plan[];
}

function actualRows(plan: Plan): number[] {
  return [plan["Actual Rows"] * plan["Actual Loops"], ...(plan.Plans ?? []).flatMap(actualRows)];
}

test("a page around a sequence or a time has messages on both sides", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  let conversationId = "";
  const times: number[] = [];
  for (let n = 1; n <= 20; n++) {
    times.push(stand.clock.now());
    conversationId = await conversationOf(one, "1021", "1022", [`m${n}`]);
    stand.clock.advance(60_000);
  }
  const read = (position: ListMessagesRequest["position"]) =>
    one.history("1022").listMessages({ conversationId, pageSize: 6, position });
  const around = await read({ case: "aroundSequence", value: 10n });
  assert.deepEqual(around.messages.map(textOf), ["m7", "m8", "m9", "m10", "m11", "m12"]);
  assert.equal(around.olderBeforeSequence, 7n);
  assert.equal(around.newerAfterSequence, 12n);
  assert.ok(around.hasNewer);
  const atTime = await read({ case: "atMs", value: BigInt(times[9]! - 1) });
  assert.deepEqual(atTime.messages.map(textOf), around.messages.map(textOf));
  const beginning = await read({ case: "atMs", value: 0n });
  assert.deepEqual(beginning.messages.map(textOf), ["m1", "m2", "m3", "m4", "m5", "m6"]);
  assert.equal(beginning.olderBeforeSequence, 0n);
  const end = await read({ case: "atMs", value: BigInt(stand.clock.now() + 1) });
  assert.deepEqual(end.messages.map(textOf), ["m18", "m19", "m20"]);
  assert.equal(end.hasNewer, false);
  const beyond = await read({ case: "afterSequence", value: 20n });
  assert.deepEqual([beyond.messages, beyond.hasNewer], [[], false]);
});

test("a page is at most 1 MiB, and a message that is larger alone is returned", async (t) => {
  const one = await new Stand(t, pool).server();
  const long = Array.from({ length: 60 }, (_, n) => String.fromCharCode(0x4e00 + n).repeat(10_000));
  const results = await one.append(
    ...long.map((text, n) => ({ ...say("1031", "1032", `k${n}`), text })),
  );
  const { conversationId } = accepted(results[0]);
  for (const backward of [true, false]) {
    const pages = await pagesOf(one, "1032", { conversationId, pageSize: 100, backward });
    assert.equal(pages.length, 2);
    assert.deepEqual((backward ? pages.toReversed() : pages).flat(), long);
  }
});

test("only members read messages, and former members up to their leaving", async (t) => {
  const one = await new Stand(t, pool).server();
  const { group } = await one.groups("1041").createGroup({ name: "g", userIds: ["1042"] });
  const conversationId = group!.groupId;
  const to = { case: "conversationId", value: conversationId } as const;
  await one.append({ from: "1041", to, key: "a", text: "a" });
  await one.groups("1041").removeMember({ groupId: conversationId, userId: "1042" });
  await one.append({ from: "1041", to, key: "b", text: "b" });
  await one.groups("1041").addMembers({ groupId: conversationId, userIds: ["1043"] });
  const read = async (user: string) =>
    (await pagesOf(one, user, { conversationId, pageSize: 10, backward: true })).flat();
  assert.deepEqual(await read("1041"), ["(tip)", "a", "(tip)", "b", "(tip)"]);
  assert.deepEqual(await read("1042"), ["(tip)", "a", "(tip)"]);
  assert.deepEqual(await read("1043"), ["(tip)"]);
  const isHidden = (error: unknown) => reasonOf(error) === ErrorReason.CONVERSATION_NOT_FOUND;
  await assert.rejects(read("1044"), isHidden);

  const at = (user: string, ...sequences: bigint[]) =>
    one.history(user).getMessages({ conversationId, sequences });
  assert.deepEqual((await at("1041", 4n, 2n, 99n)).messages.map(textOf), ["a", "b"]);
  assert.deepEqual((await at("1042", 2n, 4n)).messages.map(textOf), ["a"]);
  assert.deepEqual((await at("1043", 2n, 4n)).messages.map(textOf), []);
  await assert.rejects(at("1044", 1n), isHidden);
  const revisions = one.history("1041").listRevisions({ conversationId, sequence: 1n });
  await assert.rejects(revisions, (error) => reasonOf(error) === ErrorReason.MESSAGE_NOT_FOUND);
});
