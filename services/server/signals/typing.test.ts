import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { accepted, Stand, say, untilOutboxEmpty } from "../server.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

test("typing signals of members reach the other members; typing signals of non-members are dropped", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const [sent] = await one.append(say("181", "182", "m"));
  const { conversationId } = accepted(sent);
  const subscriber = await stand.instance("connect-0", ["u:181", "u:182"]);
  await one.presence("181").sendTyping({ conversationId, typing: true });
  await one.ingress.signalBatch({
    signals: [
      { senderId: "183", conversationId, typing: true },
      { senderId: "182", conversationId, typing: true },
    ],
  });
  await subscriber.until(({ frames }) => frames.length === 2);
  const signals = subscriber.envelopes.flatMap((envelope) => envelope.signals);
  assert.deepEqual(
    signals.map(({ channels }) => channels),
    [["u:182"], ["u:181"]],
  );
  assert.deepEqual(
    subscriber.frames.map(
      ({ kind }) => kind.case === "typing" && [kind.value.userId, kind.value.typing],
    ),
    [
      ["181", true],
      ["182", true],
    ],
  );
  await assert.rejects(one.presence("183").sendTyping({ conversationId, typing: true }), {
    code: 5,
  });
  const { group } = await one.groups("181").createGroup({ name: "g", userIds: ["182"] });
  await one.presence("182").sendTyping({ conversationId: group!.groupId, typing: false });
});

test("typing signals of a removed member are dropped, on another server after 5 s", async (t) => {
  const stand = new Stand(t, pool);
  const [one, other] = [await stand.server(), await stand.server()];
  const { group } = await one.groups("191").createGroup({ name: "g", userIds: ["192"] });
  const conversationId = group!.groupId;
  const subscriber = await stand.instance("connect-0", [`g:${conversationId}`]);
  const typists = () =>
    subscriber.frames.map(({ kind }) => (kind.case === "typing" ? kind.value.userId : kind.case));
  const type = () =>
    other.ingress.signalBatch({
      signals: ["192", "191"].map((senderId) => ({ senderId, conversationId, typing: true })),
    });
  await type();
  await subscriber.until(({ frames }) => frames.length === 2);
  await one.groups("191").removeMember({ groupId: conversationId, userId: "192" });
  stand.clock.advance(5_000);
  await type();
  await subscriber.until(({ frames }) => frames.length >= 3);
  assert.deepEqual(typists(), ["192", "191", "191"]);
  await assert.rejects(other.presence("192").sendTyping({ conversationId, typing: true }), {
    code: 5,
  });
  await other.presence("191").sendTyping({ conversationId, typing: true });
  await subscriber.until(({ frames }) => frames.length >= 4);
  assert.deepEqual(typists(), ["192", "191", "191", "191"]);
  await untilOutboxEmpty(stand);
});

test("a cached membership expires for typing signals even when the clock is set back", async (t) => {
  const stand = new Stand(t, pool);
  const [one, other] = [await stand.server(), await stand.server()];
  const { group } = await one.groups("194").createGroup({ name: "g", userIds: ["195"] });
  const conversationId = group!.groupId;
  await other.presence("195").sendTyping({ conversationId, typing: true });
  await one.groups("194").removeMember({ groupId: conversationId, userId: "195" });
  stand.clock.step(-60_000);
  stand.clock.advance(5_000);
  await assert.rejects(other.presence("195").sendTyping({ conversationId, typing: true }), {
    code: 5,
  });
  stand.clock.advance(120_000);
  await untilOutboxEmpty(stand);
});
