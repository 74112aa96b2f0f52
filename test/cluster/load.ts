/**
 * Load for the test of the cluster: pairs of users, each with one session, who send each other messages at a fixed
 * rate. Started by test/cluster/load-process.ts with the URL, the number of sessions and the messages a second.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import pLimit from "p-limit";
import { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { LuckyClient } from "../../client/client.ts";
import { Account } from "./account.ts";
import type { FromLoad, ToLoad } from "./load-messages.ts";
import { Phase } from "./phase.ts";

const PASSWORD = "a passphrase for the cluster";
/** Registrations and logins at the same time: each costs the cluster a second of CPU for passwords. */
const CONCURRENCY = 8;
/** Time for the last deliveries after the last send. */
const SETTLE_MS = 90_000;
const POLL_MS = 100;

const [url, sessions, rate] = process.argv.slice(2) as [string, string, string];
const account = new Account();
const refused: string[] = [];
let phase = new Phase("start");
let sending = true;

interface Device {
  readonly client: LuckyClient;
  readonly userId: string;
}

const tell = (message: FromLoad) => process.send?.(message);

/** Registers a user and opens a session. */
async function open(index: number): Promise<Device> {
  const name = `load-${index}-${randomUUID().slice(0, 8)}`;
  const device = { deviceId: randomUUID(), deviceClass: DeviceClass.WEB };
  const client = new LuckyClient({ url, device, history: "all" });
  await client.register(name, PASSWORD);
  const { userId } = await client.login(name, PASSWORD);
  client.on("message", ({ content, conversationId, sequence }) => {
    if (content?.kind.case !== "text") return;
    const { text } = content.kind.value;
    account.show(userId, { text, conversation: conversationId, sequence: Number(sequence) });
  });
  let lostAtMs: number | undefined;
  client.on("state", ({ kind }) => {
    if (kind === "open") {
      if (lostAtMs !== undefined) phase.reconnected(performance.now() - lostAtMs);
      lostAtMs = undefined;
    } else if (kind !== "closed") {
      lostAtMs ??= performance.now();
    }
  });
  await client.connect();
  // The first connection is no reconnect.
  lostAtMs = undefined;
  return { client, userId };
}

let count = 0;
async function send({ client, userId }: Device, to: string): Promise<void> {
  const text = `${userId}:${++count}`;
  const begin = performance.now();
  account.send();
  try {
    const { conversationId, sequence } = await client.send({ userId: to }, text);
    account.accept(text, { conversation: conversationId, sequence: Number(sequence), to });
    phase.accepted(performance.now() - begin);
  } catch (error) {
    refused.push(`${text}: ${String(error)}`);
  }
}

/** Sends at the rate, in turn from every device to its partner, until `sending` is false. */
async function run(devices: readonly Device[]): Promise<void> {
  const open = new Set<Promise<void>>();
  const begin = performance.now();
  for (let at = 0; sending; at++) {
    const from = at % devices.length;
    // Neighbours are partners: 0 and 1, 2 and 3 …
    const one = send(devices[from]!, devices[from ^ 1]!.userId);
    open.add(one);
    void one.then(() => open.delete(one));
    const waitMs = begin + ((at + 1) * 1_000) / Number(rate) - performance.now();
    if (waitMs > 1) await pause(waitMs);
  }
  // Sends without a result are retried by the client; at the end of the time they count as refused.
  await Promise.race([Promise.all(open), pause(SETTLE_MS)]);
}

const limit = pLimit(CONCURRENCY);
const devices = await Promise.all(
  Array.from({ length: Number(sessions) }, (_, index) => limit(() => open(index))),
);
phase = new Phase("load");
const running = run(devices);
tell({ kind: "ready" });

process.on("message", (message: ToLoad) => {
  if (message.kind === "phase") {
    const report = phase.report();
    phase = new Phase(message.name);
    tell({ kind: "phase", report });
    return;
  }
  void end();
});

async function end(): Promise<void> {
  sending = false;
  await running;
  for (let ms = 0; ms < SETTLE_MS && !account.isComplete(); ms += POLL_MS) await pause(POLL_MS);
  const { sent, accepted } = account;
  const unanswered = sent - accepted - refused.length;
  if (unanswered > 0) refused.push(`${unanswered} sends got no result`);
  tell({
    kind: "account",
    report: { sent, accepted, refused: refused.slice(0, 20), ...account.result() },
  });
  await Promise.all(devices.map(({ client }) => client.close()));
  process.disconnect();
}
