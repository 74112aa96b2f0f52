import assert from "node:assert/strict";
import { after, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import type { CallOptions } from "@connectrpc/connect";
import { ClientFrameSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { type ReceivedSpan, startOtlpCollector } from "../backends/otlp-collector.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people, text } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const collector = await startOtlpCollector({ after });
// No call is sampled by itself: each test asks for the traces that it checks.
const world = await startWorld(
  { after },
  { settings: { LUCKY_OTLP_URL: collector.url, LUCKY_TRACE_CLIENTS_PER_SECOND: "1000" } },
);
const isMesh = world.mode === "mesh";

const SEND = "lucky.message.v1.MessageService/Send";
const APPEND_BATCH = "lucky.internal.ingress.v1.IngressService/AppendBatch";
const APPEND = "INSERT im.entry";
const PUBLISH = "send connect";
const DELIVER = "process connect";

let traces = 0;
/** The context of a trace of a client, a new one each time. */
function context(sampled = true): { traceId: string; traceparent: string } {
  const traceId = (++traces).toString(16).padStart(32, "a");
  return { traceId, traceparent: `00-${traceId}-00f067aa0ba902b7-${sampled ? "01" : "00"}` };
}

const spansOf = (traceId: string) => collector.spans.filter((span) => span.traceId === traceId);

/**
 * Waits for the spans of a trace, and compares them as service, name of the parent, and name. Equal ones
 * count once: the relay publishes to all instances while the registry is incomplete.
 */
async function mustHaveTree(traceId: string, expected: readonly string[]): Promise<void> {
  const wanted = new Set(expected);
  const edges = () => {
    const spans = spansOf(traceId);
    const nameOf = (id: string) => spans.find(({ spanId }) => spanId === id)?.name ?? "client";
    return new Set(
      spans.map(({ service, name, parentId }) => `${service}: ${nameOf(parentId)} > ${name}`),
    );
  };
  await collector.until(() => [...wanted].every((edge) => edges().has(edge)));
  assert.deepEqual([...edges()].sort(), [...wanted].sort());
}

const service = (name: string) => (isMesh ? name : "all");
const attributesOf = (spans: readonly ReceivedSpan[]) =>
  spans.flatMap(({ name, attributes }) => [name, ...Object.values(attributes).map(String)]);

test("one trace leads from the frame of a device over connect, server and the bus to the delivery in another connect", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  const from = await RawDevice.hello(world.connects[0]!, (await ana!.login()).accessToken);
  const to = await RawDevice.hello(world.connects.at(-1)!, (await ben!.login()).accessToken);
  t.after(() => Promise.all([from.close(), to.close()]));
  const { traceId, traceparent } = context();
  const send = (clientMessageId: string, trace: string) => {
    const target = { case: "userId" as const, value: ben!.userId };
    const value = { target, clientMessageId, content: text("a secret text") };
    const frame = { kind: { case: "send" as const, value }, traceparent: trace };
    from.sendBytes(toBinary(ClientFrameSchema, create(ClientFrameSchema, frame)));
  };
  send("m1", traceparent);
  const { results } = await from.next("sendResults");
  assert.equal(results[0]!.outcome.case, "accepted");
  await to.next("deliver");
  const tree = [
    `${service("connect")}: client > lucky.frame.v1.Send`,
    `${service("connect")}: lucky.frame.v1.Send > ${APPEND_BATCH}`,
    `${service("connect")}: ${PUBLISH} > ${DELIVER}`,
    `${service("server")}: ${APPEND_BATCH} > ${APPEND_BATCH}`,
    `${service("server")}: ${APPEND_BATCH} > ${APPEND}`,
    `${service("server")}: ${APPEND_BATCH} > ${PUBLISH}`,
  ];
  await mustHaveTree(traceId, tree);

  const [frame] = spansOf(traceId).filter(({ name }) => name === "lucky.frame.v1.Send");
  const isElsewhere = ({ instanceId }: ReceivedSpan) => !isMesh || instanceId !== frame!.instanceId;
  const deliveriesElsewhere = () =>
    spansOf(traceId).filter((span) => span.name === DELIVER && isElsewhere(span));
  await collector.until(() => deliveriesElsewhere().length > 0);
  const [delivery] = deliveriesElsewhere();
  assert.equal(frame!.attributes["lucky.send.outcome"], "accepted");
  assert.equal(frame!.attributes["lucky.sequence"], 1);
  assert.equal(delivery!.attributes["messaging.system.name"], isMesh ? "rabbitmq" : "memory");
  assert.equal(delivery!.attributes["messaging.batch.message_count"], 1);
  for (const value of attributesOf(spansOf(traceId))) assert.doesNotMatch(value, /secret text|m1/);

  // A context that is not sampled, a malformed one and none make no span.
  const unsampled = context(false);
  send("m2", unsampled.traceparent);
  send("m3", "x".repeat(55));
  send("m4", "");
  const last = context();
  send("m5", last.traceparent);
  for (let seen = 0; seen < 4; ) seen += (await from.next("sendResults")).results.length;
  await mustHaveTree(last.traceId, tree);
  assert.deepEqual(spansOf(unsampled.traceId), []);
  const known = new Set([traceId, last.traceId]);
  assert.deepEqual(
    collector.spans.filter((span) => !known.has(span.traceId)),
    [],
  );
});

test("one trace leads from an RPC through gateway, server and the bus to the delivery", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  const to = await RawDevice.hello(world.connects[0]!, (await ben!.login()).accessToken);
  t.after(() => to.close());
  const messages = clientOf(world.url, MessageService, (await ana!.login()).accessToken);
  const { traceId, traceparent } = context();
  const target = { case: "userId", value: ben!.userId } as const;
  const send = { target, clientMessageId: "m1", content: text("hi") };
  await messages.send(send, { headers: { traceparent } });
  await to.next("deliver");
  const gateway = service("gateway");
  await mustHaveTree(traceId, [
    `${gateway}: client > ${SEND}`,
    `${gateway}: ${SEND} > ${SEND}`,
    `${service("server")}: ${SEND} > ${SEND}`,
    `${service("server")}: ${SEND} > ${APPEND}`,
    `${service("server")}: ${SEND} > ${PUBLISH}`,
    `${service("connect")}: ${PUBLISH} > ${DELIVER}`,
  ]);
});

test("the trace of a change of a group leads to the delivery of its entry", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  const to = await RawDevice.hello(world.connects[0]!, (await ben!.login()).accessToken);
  t.after(() => to.close());
  const groups = clientOf(world.url, GroupService, (await ana!.login()).accessToken);
  const gateway = service("gateway");
  const treeOf = (method: string) => {
    const name = `lucky.group.v1.GroupService/${method}`;
    return [
      `${gateway}: client > ${name}`,
      `${gateway}: ${name} > ${name}`,
      `${service("server")}: ${name} > ${name}`,
      `${service("server")}: ${name} > ${PUBLISH}`,
      `${service("connect")}: ${PUBLISH} > ${DELIVER}`,
    ];
  };
  const traceOf = async (change: (options: CallOptions) => Promise<unknown>) => {
    const { traceId, traceparent } = context();
    await change({ headers: { traceparent } });
    await to.next("deliver");
    return traceId;
  };
  const { group } = await groups.createGroup({ name: "a group", userIds: [ben!.userId] });
  await to.next("deliver");
  const member = { groupId: group!.groupId, userId: ben!.userId };
  const created = await traceOf((options) =>
    groups.createGroup({ name: "g", userIds: [ben!.userId] }, options),
  );
  await mustHaveTree(created, treeOf("CreateGroup"));
  const removed = await traceOf((options) => groups.removeMember(member, options));
  await mustHaveTree(removed, treeOf("RemoveMember"));
  const added = await traceOf((options) =>
    groups.addMembers({ groupId: member.groupId, userIds: [member.userId] }, options),
  );
  await mustHaveTree(added, treeOf("AddMembers"));
});

test("a call over the socket of a device is traced from its frame on", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const device = await RawDevice.hello(world.connects[0]!, (await ana!.login()).accessToken);
  t.after(() => device.close());
  const { traceId, traceparent } = context();
  const method = "lucky.message.v1.MessageService/Sync";
  const kind = { case: "rpc" as const, value: { callId: "7", method } };
  const frame = create(ClientFrameSchema, { kind, traceparent });
  device.sendBytes(toBinary(ClientFrameSchema, frame));
  assert.equal((await device.next("rpcResult")).callId, "7");
  await mustHaveTree(traceId, [
    `${service("connect")}: client > lucky.frame.v1.Rpc`,
    `${service("server")}: lucky.frame.v1.Rpc > ${method}`,
  ]);
});

test("sends and calls of the client belong to the application's trace when it asks for that", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  const { client } = await ana!.clientDevice();
  t.after(() => ana!.closeDevices());
  await client.connect();
  const to = { userId: ben!.userId };
  const [bySocket, byRpc, call] = [context(), context(), context()];
  await client.send(to, "not traced");
  await client.send(to, "hi", bySocket);
  await client.sendByRpc(to, "hi", byRpc);
  await client.callOverSocket(MessageService.method.sync, {}, call);
  const rootsOf = ({ traceId }: { traceId: string }) =>
    spansOf(traceId).filter(({ parentId }) => parentId === "00f067aa0ba902b7");
  const expected = [
    [bySocket, "lucky.frame.v1.Send"],
    [byRpc, SEND],
    [call, "lucky.frame.v1.Rpc"],
  ] as const;
  for (const [trace, root] of expected) {
    await collector.until(() => rootsOf(trace).length > 0);
    assert.deepEqual(
      rootsOf(trace).map(({ name }) => name),
      [root],
    );
  }
});

test("a collector that does not answer delays no send", { timeout: TIMEOUT }, async (t) => {
  collector.answerWith("nothing");
  t.after(() => collector.answerWith(200));
  const [ana, ben] = await people(world, "ana", "ben");
  const a = await RawDevice.hello(world.connects[0]!, (await ana!.login()).accessToken);
  t.after(() => a.close());
  const { requests } = collector;
  for (let n = 0; n === 0 || collector.requests === requests; n++) {
    const target = { case: "userId" as const, value: ben!.userId };
    const value = { target, clientMessageId: `m${n}`, content: text("hi") };
    const frame = { kind: { case: "send" as const, value }, traceparent: context().traceparent };
    a.sendBytes(toBinary(ClientFrameSchema, create(ClientFrameSchema, frame)));
    assert.equal((await a.next("sendResults")).results[0]!.outcome.case, "accepted");
  }
});
