import assert from "node:assert/strict";
import { after, test } from "node:test";
import { failsWith } from "#platform/errors.fixture.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { Stand } from "../server.fixture.ts";
import { textOf } from "../subscriber.fixture.ts";
import { Talk } from "./changes.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

test("a pin is an entry and a state, and a repeat changes nothing", async (t) => {
  const stand = new Stand(t, pool);
  const talk = await Talk.direct(stand);
  const [ana, ben] = [talk.owner, talk.others[0]!];
  const other = talk.on(await stand.server());
  assert.equal(await talk.unpin(ben, 1n), 0n, "it was never changed");
  const raced = await Promise.all([talk.pin(ben, 1n), other.pin(ben, 1n), other.pin(ana, 1n)]);
  assert.deepEqual(raced, [2n, 2n, 2n]);
  assert.partialDeepStrictEqual((await talk.entry(ana, 1n)).state, {
    ...{ changedSequence: 2n, pinnedSequence: 2n },
  });
  await talk.edit(ana, 1n, "edited");
  assert.equal(await talk.pin(ben, 1n), 3n, "the last change of the message");
  assert.equal((await talk.entry(ana, 1n)).state!.pinnedSequence, 2n);
  assert.equal(await talk.unpin(ana, 1n), 4n);
  assert.equal(await talk.unpin(ben, 1n), 4n);
  assert.equal((await talk.entry(ana, 1n)).state!.pinnedSequence, 0n);
  const entries = await talk.entries(ben);
  assert.deepEqual(entries.map(textOf), ["edited", "(pin)", "(edit)", "(unpin)"]);
  assert.deepEqual(await talk.rows("message_state", "state"), [
    { sequence: "1", changed_sequence: "4", recalled: false, edits: 1, pinned_sequence: "0" },
  ]);
});

test("in a group its owner and admins pin, what they see and what was not recalled", async (t) => {
  const stand = new Stand(t, pool);
  const talk = await Talk.group(stand, { others: 2 });
  const [owner, admin, ben] = [talk.owner, ...talk.others] as [string, string, string];
  await talk.setMember(admin, "role", 2);
  const sequence = await talk.send(ben, "text");
  const denied = failsWith("CHANGE_DENIED");
  await assert.rejects(talk.pin(ben, sequence), denied);
  await talk.pin(owner, sequence);
  await assert.rejects(talk.unpin(ben, sequence), denied);
  await talk.unpin(admin, sequence);

  for (const change of ["pin", "unpin"] as const) {
    await assert.rejects(talk[change](owner, 1n), failsWith("MESSAGE_NOT_FOUND"), "a tip");
    await assert.rejects(talk[change]("9", sequence), failsWith("CONVERSATION_NOT_FOUND"));
    await talk.setMember(admin, "muted_until_ms", stand.clock.now() + 1);
    await assert.rejects(talk[change](admin, sequence), failsWith("MUTED"));
    await talk.setMember(admin, "muted_until_ms", 0);
  }
  await talk.pin(owner, sequence);
  const recalled = await talk.recall(ben, sequence);
  await assert.rejects(talk.pin(owner, sequence), failsWith("MESSAGE_RECALLED"));
  assert.equal(await talk.unpin(owner, sequence), recalled, "the recall has removed the pin");
});

test("a conversation has a maximum number of pins; a recall makes room", async (t) => {
  const stand = new Stand(t, pool);
  const talk = await Talk.group(stand, { others: 0, config: { maxPins: 2 } });
  const { owner } = talk;
  const sequences = [await talk.send(owner, "a"), await talk.send(owner, "b")];
  const third = await talk.send(owner, "c");
  for (const sequence of sequences) await talk.pin(owner, sequence);
  const reached = failsWith("PIN_LIMIT_REACHED");
  await assert.rejects(talk.pin(owner, third), reached);
  await talk.recall(owner, sequences[0]!);
  const raced = await Promise.allSettled([talk.pin(owner, third), talk.pin(owner, third)]);
  assert.deepEqual(new Set(raced.map(({ status }) => status)), new Set(["fulfilled"]));
  const off = talk.on(await stand.server({ maxPins: 0 }));
  const last = await off.send(owner, "d", "d");
  await assert.rejects(off.pin(owner, last), reached);
  assert.ok(await off.unpin(owner, third));
});
