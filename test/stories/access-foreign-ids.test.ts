import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { type DescMethod, toJsonString } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { EndpointService } from "#gen/lucky/frame/v1/frame_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { ConversationService } from "#gen/lucky/message/v1/conversation_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { PresenceService } from "#gen/lucky/presence/v1/presence_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { guardedMethods, publicMethods, startAccessWorld } from "../attack/access-world.ts";
import { callMethod, callMethodOverSocket, nameOf, RPC_PROTOCOLS } from "../attack/method-calls.ts";
import { requestsFor } from "../attack/requests.ts";
import { clientOf, people, text } from "../world/people.ts";
import { queryLogs } from "../world/world.ts";

const TIMEOUT = 120_000;
const { world, session } = await startAccessWorld({ after });
const { url } = world;

/** Whether the socket carries the method: it carries neither streams nor EndpointService. */
const isOnSocket = (method: DescMethod): boolean =>
  method.methodKind === "unary" && method.parent !== EndpointService;

/** Registers Ana, with a conversation and a group with Ben, and with secrets in her profile. */
async function victim() {
  const [ana, ben] = await people(world, "ana", "ben");
  const deviceId = randomUUID();
  const { accessToken } = await ana!.login({ deviceId });
  const secrets = { location: randomUUID(), answer: randomUUID(), text: randomUUID(), deviceId };
  await clientOf(url, UserService, accessToken).updateProfile({
    location: secrets.location,
    birthday: { year: 1977, month: 7, day: 7 },
    addAnswer: secrets.answer,
  });
  const { accepted } = await clientOf(url, MessageService, accessToken).send({
    target: { case: "userId", value: ben!.userId },
    clientMessageId: "secret",
    content: text(secrets.text),
  });
  const { group } = await clientOf(url, GroupService, accessToken).createGroup({
    name: secrets.text,
    userIds: [ben!.userId],
  });
  return {
    /** Ids and names of Ana's that another user's request may contain. */
    named: {
      user_id: ana!.userId,
      after_user_id: ana!.userId,
      user_name: ana!.userName,
      user_name_prefix: ana!.userName,
      conversation_id: accepted!.conversationId,
      group_id: group!.groupId,
      message_id: accepted!.messageId,
      device_id: deviceId,
    },
    userIds: [ana!.userId, ben!.userId],
    conversationIds: [accepted!.conversationId, group!.groupId],
    secrets: Object.values(secrets),
  };
}

/** One query for all rows of a schema that contain one of the ids in $1, as JSON. */
async function searchOf(schema: string): Promise<string> {
  const { rows } = await world.pool.query(
    `SELECT string_agg(format('SELECT %L || to_jsonb(t)::text AS row FROM %I.%I t WHERE to_jsonb(t)::text ~ $1',
                              table_name || ' ', table_schema, table_name), ' UNION ALL ') AS search
     FROM information_schema.tables
     WHERE table_schema = $1 AND table_type = 'BASE TABLE' AND table_name NOT IN ('outbox', 'news')`,
    [schema],
  );
  return rows[0].search;
}
const searches = { auth: await searchOf("auth"), im: await searchOf("im") };

/** All rows of a schema that contain one of the ids, as JSON. */
async function rowsWith(
  schema: keyof typeof searches,
  ids: readonly string[],
): Promise<Set<string>> {
  const rows = await queryLogs<{ row: string }>(world, searches[schema], [ids.join("|")]);
  return new Set(rows.map(({ row }) => row));
}

for (const protocol of [...RPC_PROTOCOLS, "socket"] as const) {
  test(`a request with another user's ids neither reads nor changes that user's data over ${protocol}`, {
    timeout: TIMEOUT,
  }, async () => {
    const ana = await victim();
    const account = await rowsWith("auth", ana.userIds);
    const conversations = await rowsWith("im", ana.conversationIds);
    const others = await rowsWith("im", ana.userIds);
    assert.ok(account.size >= 3 && conversations.size >= 4 && others.size >= 4);
    const [eve] = await people(world, "eve");
    for (const method of [...publicMethods, ...guardedMethods]) {
      if (protocol === "socket" && !isOnSocket(method)) continue;
      for (const at of requestsFor(method, ana.named).keys()) {
        // A call may end its own login, so each call gets a new one, with its proof.
        const { accessToken: token, refreshToken } = await eve!.login();
        const named = { ...ana.named, refresh_token: refreshToken };
        const request = requestsFor(method, named)[at]!;
        const what = `${nameOf(method)} ${toJsonString(method.input, request)}`;
        const { reason, text, answer } =
          protocol === "socket"
            ? await callMethodOverSocket(url, method, { token, request })
            : await callMethod(url, method, { token, request, protocol, session });
        assert.ok(reason, `${what}: ${text}`);
        const wrong = ["INTERNAL", "UNAVAILABLE", "METHOD_NOT_FOUND", "TOKEN_INVALID"];
        assert.ok(!wrong.includes(reason), `${what}: ${reason} ${text}`);
        for (const secret of ana.secrets) assert.ok(!(answer + text).includes(secret), what);
        // The bare digits may occur in a time in milliseconds, so the search includes the field's
        // name.
        assert.ok(!answer.includes(`"year":1977`), what);
        assert.deepEqual(await rowsWith("auth", ana.userIds), account, what);
        assert.deepEqual(await rowsWith("im", ana.conversationIds), conversations, what);
      }
    }
    // A stranger may send to the users and so add rows; the existing rows stay unchanged.
    const afterwards = await rowsWith("im", ana.userIds);
    for (const row of others) assert.ok(afterwards.has(row), row);
  });
}

test("a stranger cannot read, write or move cursors in a conversation", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben, eve] = await people(world, "ana", "ben", "eve");
  const asAna = clientOf(world.url, MessageService, (await ana!.login()).accessToken);
  const asBen = clientOf(world.url, MessageService, (await ben!.login()).accessToken);
  const { accessToken } = await eve!.login();
  const asEve = clientOf(world.url, MessageService, accessToken);
  const { accepted } = await asAna.send({
    target: { case: "userId", value: ben!.userId },
    clientMessageId: "secret",
    content: text("between us"),
  });
  const conversationId = accepted!.conversationId;
  const unknown = (e: unknown) => reasonOf(e) === ErrorReason.CONVERSATION_NOT_FOUND;
  const position = { case: "afterSequence", value: 0n } as const;
  await assert.rejects(asEve.listEntries({ conversationId, position }), unknown);
  await assert.rejects(asEve.listReceipts({ conversationId }), unknown);
  const conversations = clientOf(world.url, ConversationService, accessToken);
  for (const target of [
    { case: "conversationId", value: conversationId } as const,
    { case: "userId", value: ben!.userId } as const,
  ])
    await assert.rejects(conversations.getConversation({ target }), unknown);
  const write = asEve.send({
    target: { case: "conversationId", value: conversationId },
    clientMessageId: "intruder",
    content: text("hello"),
  });
  await assert.rejects(write, (e) =>
    [ErrorReason.NOT_A_MEMBER, ErrorReason.CONVERSATION_NOT_FOUND].includes(reasonOf(e)),
  );
  await asEve.acknowledge({ cursors: [{ conversationId, readSequence: 1n }] });
  const { receipts } = await asBen.listReceipts({ conversationId });
  assert.ok(receipts.every((r) => r.userId !== eve!.userId));
  assert.deepEqual((await asEve.sync({})).conversations, []);
  const typing = clientOf(world.url, PresenceService, accessToken);
  await assert.rejects(typing.sendTyping({ conversationId, typing: true }), unknown);
  const { entries } = await asBen.listEntries({ conversationId, position });
  assert.deepEqual(
    entries.map((e) => e.senderId),
    [ana!.userId],
  );
});
