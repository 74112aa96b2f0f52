import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import { MessageService, SendRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { WireWriter } from "#platform/wire.ts";
import { KNOWN_KINDS, type Line, lineOf } from "../devices/older-client.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people, text } from "../world/people.ts";
import { queryLogs, startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });

test("messages arrive in both directions, and both users see the same log", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  const [a, b] = await Promise.all([ana!.clientDevice(), ben!.clientDevice()]);
  t.after(() => Promise.all([ana!.closeDevices(), ben!.closeDevices()]));
  await Promise.all([a.client.connect(), b.client.connect()]);

  const first = await a.client.send({ userId: ben!.userId }, "hi ben");
  await b.until(() => b.texts().length === 1);
  const second = await b.client.send({ conversationId: first.conversationId }, "hi ana");
  await a.until(() => a.texts().length === 1);

  assert.equal(first.sequence, 1n);
  assert.equal(second.sequence, 2n);
  assert.deepEqual(b.texts(), ["hi ben"]);
  assert.deepEqual(a.texts(), ["hi ana"]);
  assert.equal(b.entries[0]!.senderId, ana!.userId);
  const log = await a.client.messages.listEntries({
    conversationId: first.conversationId,
    position: { case: "afterSequence", value: 0n },
  });
  assert.deepEqual(
    log.entries.map((e) => [Number(e.sequence), e.messageId]),
    [
      [1, first.messageId],
      [2, second.messageId],
    ],
  );
});

test("every content kind that a user may send arrives unchanged", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  const b = await ben!.clientDevice();
  t.after(() => ben!.closeDevices());
  await b.client.connect();
  const messages = clientOf(world.url, MessageService, (await ana!.login()).accessToken);
  const source = { case: "url", value: "https://example.org/a.webp" };
  const media = { source, sizeBytes: 10n, mimeType: "image/webp" };
  const kinds = [
    { case: "text", value: { text: "漢字 🦩" } },
    { case: "image", value: { media, widthPx: 1, heightPx: 2 } },
    { case: "video", value: { media, durationMs: 5n } },
    { case: "audio", value: { media, durationMs: 5n, waveform: new Uint8Array([1, 2]) } },
    { case: "file", value: { media, fileName: "a.pdf" } },
    { case: "location", value: { latitudeDeg: 46.9, longitudeDeg: 7.4, title: "Bern" } },
    {
      case: "composite",
      value: { parts: [{ kind: { case: "text", value: { text: "a" } } }] },
    },
    { case: "contactCard", value: { userId: ana!.userId, displayName: "Ana" } },
    { case: "groupInvitation", value: { groupId: "7", name: "g" } },
    { case: "joinRequest", value: { groupId: "7", greeting: "hello" } },
    { case: "custom", value: { type: "x", data: new Uint8Array([0, 255]) } },
  ] as const;
  for (const kind of kinds) {
    await messages.send({
      target: { case: "userId", value: ben!.userId },
      clientMessageId: randomUUID(),
      content: { kind: kind as never },
    });
  }
  await b.until(() => b.entries.length === kinds.length);
  assert.deepEqual(
    b.entries.map((e) => e.content?.kind.case),
    kinds.map((k) => k.case),
  );
  const { content } = create(SendRequestSchema, { content: { kind: kinds[6] as never } });
  assert.deepEqual(b.entries[6]!.content, content);
});

test("a client that knows only the kinds 1 to 5 shows the text for it, its own text, or nothing", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  const old = await RawDevice.open(world.url);
  t.after(() => old.close());
  const { accessToken } = await ben!.login();
  const contentKinds = [...KNOWN_KINDS];
  old.send({ case: "hello", value: { accessToken, protocolRevision: 1, contentKinds } });
  assert.ok((await old.next("welcome")).contentKinds.includes(8), "the server knows more kinds");

  const sender = await RawDevice.hello(world.url, (await ana!.login()).accessToken);
  t.after(() => sender.close());
  const target = { case: "userId", value: ben!.userId } as const;
  const card = { kind: { case: "contactCard", value: { userId: ana!.userId } } } as const;
  const contents = [text("hi"), { ...card, fallbackText: "Kontakt: Ana" }, card];
  const seen: Line[] = [];
  const readTo = async (device: RawDevice, count: number) => {
    while (seen.length < count) {
      const { entries } = await device.next("deliver");
      for (const entry of entries) seen.push(lineOf(toBinary(EntrySchema, entry)));
    }
  };
  for (const [nr, content] of contents.entries()) {
    sender.send({ case: "send", value: { target, clientMessageId: `m${nr}`, content } });
    await readTo(old, nr + 1);
  }
  const groups = clientOf(world.url, GroupService, (await ana!.login()).accessToken);
  await groups.createGroup({ name: "g", userIds: [ben!.userId] });
  await readTo(old, 4);
  const ownText = "[update the app to see this message]";
  assert.deepEqual(seen, [
    { text: "hi", counted: true },
    { text: "Kontakt: Ana", counted: true },
    { text: ownText, counted: true },
    { text: ownText, counted: false },
  ]);
  // A change of an earlier entry, of a later server: kind 57.
  const change = new WireWriter().bytes(57, Buffer.of(0x08, 1)).finish();
  const later = new WireWriter()
    .varint(2, 9)
    .bytes(10, change)
    .varint(16, 1)
    .varint(17, 1)
    .finish();
  assert.deepEqual(lineOf(later), { text: undefined, counted: false });
});

test("server-only content, content that breaks a constraint, and a send to oneself are refused", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  const { accessToken } = await ana!.login();
  const messages = clientOf(world.url, MessageService, accessToken);
  const device = await RawDevice.hello(world.url, accessToken);
  t.after(() => device.close());
  const target = { case: "userId", value: ben!.userId } as const;
  const image = (media: object) => ({ case: "image", value: { media } });
  const url = (value: string) => ({ case: "url", value });
  const forbidden = [
    image({ source: url("https://example.org/a"), sha256: new Uint8Array(31) }),
    image({ source: url("https://example.org/a"), sha256: new Uint8Array(33) }),
    image({ source: url("javascript:alert(1)") }),
    image({ source: url("data:text/html,x") }),
    image({ source: { case: "fileId", value: "f1" } }),
    image({}),
    { case: "file", value: { media: { source: url("https://a") }, fileName: "\u2800" } },
    { case: "contactCard", value: { userId: "1", displayName: "\u3164" } },
    { case: "groupInvitation", value: { groupId: "7", name: "a\u202eb" } },
    { case: "tip", value: { kind: { case: "membersAdded", value: { userIds: ["1"] } } } },
    { case: "callRecord", value: { callId: "1" } },
    { case: "text", value: { text: "" } },
    { case: "location", value: { latitudeDeg: 91, longitudeDeg: 0 } },
    { case: "composite", value: { parts: [] } },
  ];
  for (const kind of forbidden) {
    const content = { kind: kind as never };
    const request = { target, clientMessageId: randomUUID(), content };
    await assert.rejects(
      messages.send(request),
      (e) => reasonOf(e) === ErrorReason.INVALID_ARGUMENT,
      JSON.stringify(kind),
    );
    device.send({ case: "send", value: request });
    const { outcome } = (await device.next("sendResults")).results[0]!;
    const reason = outcome.case === "refused" ? outcome.value.error?.reason : undefined;
    assert.equal(reason, ErrorReason.INVALID_ARGUMENT, JSON.stringify(kind));
  }
  const withoutId = messages.send({ target, clientMessageId: "", content: text("x") });
  await assert.rejects(withoutId, (e) => reasonOf(e) === ErrorReason.INVALID_ARGUMENT);
  const toOneself = messages.send({
    target: { case: "userId", value: ana!.userId },
    clientMessageId: randomUUID(),
    content: text("x"),
  });
  await assert.rejects(toOneself, (e) => reasonOf(e) === ErrorReason.INVALID_ARGUMENT);
  const unknownUser = messages.send({
    target: { case: "userId", value: "4611686018427387904" },
    clientMessageId: randomUUID(),
    content: text("x"),
  });
  await assert.rejects(unknownUser, (e) => reasonOf(e) === ErrorReason.USER_NOT_FOUND);
});

test("a duplicate send returns the first result and stores one message", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await people(world, "ana", "ben");
  const messages = clientOf(world.url, MessageService, (await ana!.login()).accessToken);
  const request = {
    target: { case: "userId", value: ben!.userId },
    clientMessageId: "m1",
    content: text("once"),
  } as const;
  const first = (await messages.send(request)).accepted!;
  const again = (await messages.send(request)).accepted!;
  const together = await Promise.all([1, 2, 3].map(() => messages.send(request)));
  for (const answer of [again, ...together.map((r) => r.accepted!)]) {
    assert.equal(answer.messageId, first.messageId);
    assert.equal(answer.sequence, first.sequence);
  }
  const rows = await queryLogs(world, "SELECT 1 FROM im.entry WHERE conversation_id = $1", [
    first.conversationId,
  ]);
  assert.equal(rows.length, 1);
});

test("a retry after a lost answer is deduplicated by its clientMessageId", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  const { accessToken } = await ana!.login({ deviceId: "ana-1" });
  const send = {
    case: "send",
    value: {
      target: { case: "userId", value: ben!.userId },
      clientMessageId: "lost-answer",
      content: text("did you get it?"),
    },
  } as const;

  const before = await RawDevice.hello(world.url, accessToken);
  before.send(send);
  // Closes while the answer is in flight, so that it is lost.
  await before.close();
  const after = await RawDevice.hello(world.url, accessToken);
  t.after(() => after.close());
  after.send(send);
  const first = (await after.next("sendResults")).results[0]!;
  after.send(send);
  const second = (await after.next("sendResults")).results[0]!;
  assert.equal(first.outcome.case, "accepted");
  assert.deepEqual(second.outcome.value, first.outcome.value);
  const messages = clientOf(world.url, MessageService, accessToken);
  const log = await messages.listEntries({
    conversationId: first.outcome.case === "accepted" ? first.outcome.value.conversationId : "0",
    position: { case: "afterSequence", value: 0n },
  });
  assert.equal(log.entries.length, 1);
});

test("a reused clientMessageId with other content is refused over RPC and over the socket", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  const { accessToken } = await ana!.login();
  const messages = clientOf(world.url, MessageService, accessToken);
  const target = { case: "userId", value: ben!.userId } as const;
  await messages.send({ target, clientMessageId: "k", content: text("one") });
  const other = messages.send({ target, clientMessageId: "k", content: text("two") });
  await assert.rejects(other, (e) => reasonOf(e) === ErrorReason.KEY_REUSED);

  const device = await RawDevice.hello(world.url, accessToken);
  t.after(() => device.close());
  device.send({ case: "send", value: { target, clientMessageId: "k", content: text("three") } });
  const { outcome } = (await device.next("sendResults")).results[0]!;
  assert.equal(outcome.case, "refused");
  assert.equal(outcome.case === "refused" && outcome.value.error?.reason, ErrorReason.KEY_REUSED);
});

test("the sender's other devices receive the message too", { timeout: TIMEOUT }, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  t.after(() => Promise.all([ana!.closeDevices(), ben!.closeDevices()]));
  const laptop = await ana!.clientDevice({ deviceClass: DeviceClass.DESKTOP });
  const mobile = await ana!.clientDevice({ deviceClass: DeviceClass.MOBILE });
  await Promise.all([laptop.client.connect(), mobile.client.connect()]);
  const { conversationId } = await laptop.client.send({ userId: ben!.userId }, "from the laptop");
  await mobile.until(() => mobile.texts(conversationId).length === 1);
  await mobile.client.send({ conversationId }, "from the phone");
  await laptop.until(() => laptop.texts(conversationId).includes("from the phone"));
  assert.deepEqual(mobile.texts(conversationId), ["from the laptop"]);

  mobile.client.markRead(conversationId, 2n);
  await laptop.until(() =>
    laptop.receipts.some((r) => r.userId === ana!.userId && r.readSequence === 2n),
  );
});

test("typing signals reach online devices and are not stored", { timeout: TIMEOUT }, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  t.after(() => Promise.all([ana!.closeDevices(), ben!.closeDevices()]));
  const [a, b] = await Promise.all([ana!.clientDevice(), ben!.clientDevice()]);
  await Promise.all([a.client.connect(), b.client.connect()]);
  const { conversationId } = await a.client.send({ userId: ben!.userId }, "hi");
  await b.until(() => b.texts().length === 1);
  a.client.typing(conversationId, true);
  await b.until(() => b.typings.length === 1);
  assert.equal(b.typings[0]!.userId, ana!.userId);
  await a.client.presence.sendTyping({ conversationId, typing: false });
  await b.until(() => b.typings.length === 2);

  assert.equal(a.typings.length, 0, "the sender gets no typing signal of their own");
  const { entries } = await b.client.messages.listEntries({
    conversationId,
    position: { case: "afterSequence", value: 0n },
  });
  assert.equal(entries.length, 1);
  const late = await ben!.clientDevice();
  await late.client.connect();
  const { conversations } = await late.client.messages.sync({});
  assert.equal(conversations[0]!.lastSequence, 1n);
  assert.equal(late.typings.length, 0);
});
