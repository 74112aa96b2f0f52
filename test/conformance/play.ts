import { randomBytes } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { toJson } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { ContentSchema } from "#gen/lucky/message/v1/content_pb.js";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import { AcceptedSchema } from "#gen/lucky/message/v1/message_pb.js";
import { LuckyClient } from "../../client/client.ts";
import { LuckyError } from "../../client/error.ts";
import type { Target } from "../../client/sending/send-request.ts";
import { Calls, messageFrom } from "./calls.ts";
import { Device } from "./device.ts";
import { fill, type Json, match, save, texts, type Values } from "./values.ts";

type Step = Record<string, Json>;
type Answer = { readonly answer: Json } | { readonly error: unknown };

const TIMEOUT_MS = 60_000;
const POLL_INTERVAL_MS = 50;

/** The steps that this runner knows, with the keys that each may have. */
const OPERATIONS: Readonly<Record<string, readonly string[]>> = {
  call: [
    ...["over", "as", "request", "request_hex", "timeout_ms", "times", "eventually"],
    ...["expect", "error", "save"],
  ],
  login: ["user", "password", "class", "expect", "save"],
  open: ["expect"],
  close: [],
  closed: ["code"],
  send: ["to", "key", "content", "background", "times", "expect", "error", "save"],
  result: ["expect", "error", "save"],
  receive: ["conversation", "entries", "texts", "times", "from"],
  receipt: ["conversation", "user", "delivered", "read"],
  read: ["conversation", "sequence"],
  network: [],
};

/** The operation of a step. Throws for an unknown one, and for an unknown key. */
function operationOf(step: Step): string {
  const keys = Object.keys(step);
  const found = Object.keys(OPERATIONS).find(
    (name) => keys.includes(name) && keys.every((key) => isKeyOf(name, key)),
  );
  if (!found) throw new Error(`unknown operation, or an unknown key: ${keys.join(", ")}`);
  return found;
}

function isKeyOf(operation: string, key: string): boolean {
  return key === "title" || key === operation || OPERATIONS[operation]!.includes(key);
}

/** One run of the scenario. */
export class Play {
  readonly #url: string;
  readonly #networkUrl: string;
  readonly #calls: Calls;
  readonly #values: Values = { run: randomBytes(4).toString("hex") };
  readonly #devices = new Map<string, Device>();
  readonly #background = new Map<string, Promise<Answer>>();

  constructor(url: string, networkUrl: string) {
    this.#url = url;
    this.#networkUrl = networkUrl;
    this.#calls = new Calls(url);
  }

  async end(): Promise<void> {
    this.#calls.close();
    for (const { client } of this.#devices.values()) await client.close();
  }

  async step(step: Step): Promise<void> {
    const operation = operationOf(step);
    if (operation === "call") return await this.#call(step);
    if (operation === "login") return await this.#login(step);
    if (operation === "send") return await this.#sendAll(step);
    // ${n} in the texts counts the entries.
    const { texts: pattern = null, ...rest } = step;
    const filled: Step = { ...(fill(rest, this.#values) as Step), texts: pattern };
    if (operation === "result")
      return this.#answered(step, await this.#background.get(String(step.result))!);
    if (operation === "network") return await this.#network(String(step.network));
    for (const name of texts(filled[operation])) {
      await this.#onDevice(operation, this.#device(name), filled);
    }
  }

  #device(name: string): Device {
    const device = this.#devices.get(name);
    if (!device) throw new Error(`no device "${name}" logged in`);
    return device;
  }

  async #onDevice(operation: string, device: Device, step: Step): Promise<void> {
    const { client } = device;
    const conversation = String(step.conversation);
    switch (operation) {
      case "open":
        await client.connect();
        return this.#answered(step, { answer: { userId: client.userId } });
      case "close":
        return await client.close();
      case "closed":
        return await device.closes(Number(step.code));
      case "receive":
        return await receive(device, step);
      case "receipt":
        return await device.gets((receipt) => {
          const { conversationId, userId, deliveredSequence, readSequence } = receipt;
          const about = conversationId === conversation && userId === step.user;
          const delivered = deliveredSequence >= BigInt(Number(step.delivered ?? 0));
          return about && delivered && readSequence >= BigInt(Number(step.read ?? 0));
        });
      case "read":
        return client.markRead(conversation, BigInt(Number(step.sequence)));
    }
  }

  async #call(step: Step): Promise<void> {
    for (let n = 1; n <= Number(step.times ?? 1); n++) {
      this.#values.n = String(n);
      const filled = fill(step, this.#values) as Step;
      for (const over of texts(step.over)) {
        try {
          await this.#callOver(over, filled);
        } catch (error) {
          throw new Error(`over ${over}: ${error instanceof Error ? error.message : error}`);
        }
      }
    }
  }

  async #callOver(over: string, step: Step): Promise<void> {
    const as = this.#devices.get(String(step.as))?.client;
    for (const until = Date.now() + TIMEOUT_MS; ; ) {
      const answer = await settle(this.#calls.call(over, step, as));
      try {
        return this.#answered(step, answer);
      } catch (error) {
        if (step.eventually !== true || Date.now() > until) throw error;
      }
      await pause(POLL_INTERVAL_MS);
    }
  }

  async #login(step: Step): Promise<void> {
    const name = String(step.login);
    const deviceId = `${name}-${this.#values.run}`;
    const deviceClass = DeviceClass[
      String(step.class).replace("DEVICE_CLASS_", "") as keyof typeof DeviceClass
    ] as DeviceClass;
    const client = new LuckyClient({ url: this.#url, device: { deviceId, deviceClass } });
    const user = await client.login(String(fill(step.user, this.#values)), String(step.password));
    this.#devices.set(name, new Device(client));
    const { accessToken, refreshToken } = client.tokens!;
    this.#values[`${name}.device_id`] = deviceId;
    this.#values[`${name}.refresh_token`] = refreshToken;
    const answer = { user: { userId: user.userId }, tokens: { accessToken, refreshToken } };
    this.#answered(step, { answer });
  }

  async #sendAll(step: Step): Promise<void> {
    const { client } = this.#device(String(step.send));
    const answers: Promise<Answer>[] = [];
    for (let n = 1; n <= Number(step.times ?? 1); n++)
      answers.push(send(client, fill(step, { ...this.#values, n: String(n) }) as Step));
    if (step.background !== undefined) this.#background.set(String(step.background), answers[0]!);
    else for (const answer of answers) this.#answered(step, await answer);
  }

  async #network(mode: string): Promise<void> {
    const answer = await fetch(`${this.#networkUrl}/${mode}`, { method: "POST" });
    if (!answer.ok) throw new Error(`the network does not know "${mode}"`);
  }

  /** Compares an answer or an error with what the step expects, and saves values of the answer. */
  #answered(step: Step, got: Answer): void {
    if (step.error !== undefined) {
      if (!("error" in got)) throw new Error("it succeeded, expected an error");
      const actual = errorOf(got.error);
      // A LuckyError has a reason and no code.
      const { code, ...rest } = fill(step.error, this.#values) as Step;
      match("error", "code" in actual && code !== undefined ? { code, ...rest } : rest, actual);
      return;
    }
    if ("error" in got) throw got.error;
    if (step.expect !== undefined) match("answer", fill(step.expect, this.#values), got.answer);
    save(step, got.answer, this.#values);
  }
}

function send(client: LuckyClient, step: Step): Promise<Answer> {
  const content = messageFrom(ContentSchema, step.content ?? null);
  const clientMessageId = String(step.key);
  const sending = client.send(step.to as unknown as Target, content, { clientMessageId });
  return settle(sending.then((accepted) => toJson(AcceptedSchema, accepted) as Json));
}

/** Takes the next entries of a conversation on a device and compares them. */
async function receive(device: Device, step: Step): Promise<void> {
  const expected = [...((step.entries ?? []) as Json[])];
  for (let n = 1; n <= Number(step.times ?? 0); n++) {
    const text = fill(step.texts, { n: String(n) });
    expected.push({ sequence: String(Number(step.from) + n - 1), content: { text: { text } } });
  }
  if (expected.length === 0) throw new Error("nothing is expected");
  for (const [at, entry] of expected.entries()) {
    const next = await device.nextEntry(String(step.conversation));
    match(`entry ${at + 1}`, entry, toJson(EntrySchema, next) as Json);
  }
}

async function settle(answer: Promise<Json>): Promise<Answer> {
  try {
    return { answer: await answer };
  } catch (error) {
    return { error };
  }
}

function errorOf(error: unknown): Step {
  const { reason, message, field = "" }: LuckyError & { field?: string } = LuckyError.from(error);
  const about = { reason: ErrorReason[reason] ?? String(reason), field, text: message };
  if (!(error instanceof ConnectError)) return about;
  const code = (Code[error.code] ?? "").replace(/(?!^)[A-Z]/g, "_$&").toLowerCase();
  return { code, ...about };
}
