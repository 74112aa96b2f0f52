import { randomUUID } from "node:crypto";
import type { RequestOptions } from "node:http";
import type { DescService } from "@bufbuild/protobuf";
import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { AuthService, DeviceClass, type Tokens } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Content } from "#gen/lucky/message/v1/content_pb.js";
import type { Entry } from "#gen/lucky/message/v1/entry_pb.js";
import type { Receipt } from "#gen/lucky/message/v1/message_pb.js";
import type { Typing } from "#gen/lucky/presence/v1/presence_pb.js";
import { LuckyClient } from "../../client/client.ts";
import type { Clock } from "../../client/clock.ts";
import { sealPassword } from "../../client/login/password.ts";
import type { ClientStore } from "../../client/store.ts";

export const PASSWORD = "a passphrase for stories";

/**
 * Time-out of `until`, ms. Shorter than the time-out of a story, so that `until` can report what the
 * device saw.
 */
const WAIT_TIMEOUT_MS = 110_000;

/** The part of the system under test that people need. */
export interface Reachable {
  /** Address of the gateway: "http://host:port". */
  readonly url: string;
}

/** Creates a client of one service at an address, with an access token or without one. */
export function clientOf<S extends DescService>(url: string, desc: S, token?: string): Client<S> {
  return clientFrom({ url, token }, desc);
}

/** Like `clientOf`, with options of Node for each request, such as `localAddress`. */
export function clientFrom<S extends DescService>(
  options: { url: string; token?: string | undefined; nodeOptions?: RequestOptions },
  desc: S,
): Client<S> {
  const { url, token, nodeOptions } = options;
  const withToken: Interceptor = (next) => (request) => {
    if (token !== undefined) request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  const transport = createConnectTransport({
    baseUrl: url,
    httpVersion: "1.1",
    nodeOptions,
    interceptors: [withToken],
    defaultTimeoutMs: 30_000,
  });
  return createClient(desc, transport);
}

/** A registered user. A random suffix keeps the names of stories on one system apart. */
export class Person {
  readonly userName: string;
  readonly userId: string;
  readonly #url: string;
  readonly #devices: ClientDevice[] = [];

  private constructor(url: string, userName: string, userId: string) {
    this.#url = url;
    this.userName = userName;
    this.userId = userId;
  }

  static async register(world: Reachable, name: string): Promise<Person> {
    const userName = `${name}-${randomUUID().slice(0, 8)}`;
    const auth = clientOf(world.url, AuthService);
    const key = await auth.getPublicKey({});
    const { user } = await auth.register({ userName, password: await sealPassword(key, PASSWORD) });
    return new Person(world.url, userName, user!.userId);
  }

  /** The same user in another installation, which was restored from a backup. */
  at(world: Reachable): Person {
    return new Person(world.url, this.userName, this.userId);
  }

  /** Logs a device in without creating a client. Absent: a random device id, class WEB. */
  async login(device: { deviceId?: string; deviceClass?: DeviceClass } = {}): Promise<Tokens> {
    const auth = clientOf(this.#url, AuthService);
    const key = await auth.getPublicKey({});
    const { tokens } = await auth.login({
      userName: this.userName,
      password: await sealPassword(key, PASSWORD),
      device: {
        deviceId: device.deviceId ?? randomUUID(),
        deviceClass: device.deviceClass ?? DeviceClass.WEB,
      },
    });
    return tokens!;
  }

  /** Logs in a client on a device of its own. It is not connected yet. */
  async clientDevice(options: ClientDeviceOptions = {}): Promise<ClientDevice> {
    const deviceId = options.deviceId ?? randomUUID();
    const deviceClass = options.deviceClass ?? DeviceClass.WEB;
    const { clock, history, store } = options;
    const about = { deviceId, deviceClass };
    const client = new LuckyClient({ url: this.#url, device: about, clock, history, store });
    await client.login(this.userName, PASSWORD);
    const device = new ClientDevice(client, this.userId);
    this.#devices.push(device);
    return device;
  }

  /** Closes the clients of all its devices. */
  async closeDevices(): Promise<void> {
    await Promise.all(this.#devices.map((device) => device.client.close()));
  }
}

export interface ClientDeviceOptions {
  readonly deviceId?: string;
  readonly deviceClass?: DeviceClass;
  /** The client's clock; the system clock when absent. */
  readonly clock?: Clock;
  /** Where the device starts: "none" when absent, after the entries that other devices received. */
  readonly history?: "none" | "all";
  /** Keeps the device's state; in memory when absent. */
  readonly store?: ClientStore;
}

/** A LuckyClient and a record of everything that its user would have seen. */
export class ClientDevice {
  readonly client: LuckyClient;
  readonly userId: string;
  /** Entries in the order in which they became visible; without those of logs that were reset since. */
  entries: Entry[] = [];
  readonly receipts: Receipt[] = [];
  readonly typings: Typing[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(client: LuckyClient, userId: string) {
    this.client = client;
    this.userId = userId;
    const record =
      <T>(list: T[]) =>
      (value: T) => {
        list.push(value);
        this.#wake();
      };
    client.on("message", (entry) => record(this.entries)(entry));
    client.on("logReset", ({ conversationId }) => {
      this.entries = this.entries.filter((entry) => entry.conversationId !== conversationId);
    });
    client.on("receipt", record(this.receipts));
    client.on("typing", record(this.typings));
    client.on("state", () => this.#wake());
  }

  /** Visible texts of one conversation and one sender, or of all. */
  texts(conversationId?: string, senderId?: string): string[] {
    return this.entries
      .filter((e) => conversationId === undefined || e.conversationId === conversationId)
      .filter((e) => senderId === undefined || e.senderId === senderId)
      .flatMap((e) => (e.content?.kind.case === "text" ? [e.content.kind.value.text] : []));
  }

  /** Visible sequences of a conversation, in the order in which they became visible. */
  sequences(conversationId: string): number[] {
    return this.entries
      .filter((e) => e.conversationId === conversationId)
      .map((e) => Number(e.sequence));
  }

  /**
   * Waits until `holds` returns true; checks it at every update. Rejects after WAIT_TIMEOUT_MS with
   * a summary of what the device saw.
   */
  async until(holds: () => boolean): Promise<void> {
    const signal = AbortSignal.timeout(WAIT_TIMEOUT_MS);
    const wake = () => this.#wake();
    signal.addEventListener("abort", wake);
    while (!holds()) {
      if (signal.aborted)
        throw new Error(`timed out after ${WAIT_TIMEOUT_MS} ms: ${this.#summary()}`);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
    signal.removeEventListener("abort", wake);
  }

  #summary(): string {
    const { entries, receipts, typings, client } = this;
    const last = entries.at(-1);
    const seen = `${entries.length} entries, ${receipts.length} receipts, ${typings.length} typings`;
    return `${seen}, last sequence ${last?.sequence}, session ${client.state.kind}`;
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

/** Registers people by their names. */
export function people(world: Reachable, ...names: string[]): Promise<Person[]> {
  return Promise.all(names.map((name) => Person.register(world, name)));
}

/** The proof by a refresh token, for calls that make or end logins. */
export const proofBy = ({ refreshToken }: Pick<Tokens, "refreshToken">) => ({
  kind: { case: "refreshToken", value: refreshToken } as const,
});

/** The content of a text message. */
export const text = (value: string) =>
  ({ kind: { case: "text", value: { text: value } } }) as unknown as Content;
