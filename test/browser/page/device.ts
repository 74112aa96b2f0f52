/** A device of the client in a page, controlled by a test through `luckyDevice`. */
import { fromJsonString, toJsonString } from "@bufbuild/protobuf";
import { LuckyClient } from "../../../client/client.ts";
import { type Clock, systemClock } from "../../../client/clock.ts";
import { IndexedDbStore } from "../../../client/indexed-db-store.ts";
import { DeviceClass, TokensSchema } from "../../../gen/lucky/auth/v1/auth_pb.js";

export interface DeviceStart {
  readonly url: string;
  /** Logs in with the name; resumes the login before the reload when absent. */
  readonly login?: { readonly userName: string; readonly password: string };
  /** The timers of a hidden tab run late; here they never run. */
  readonly hidden?: boolean;
}

const hiddenClock: Clock = { ...systemClock, after: () => ({ stop() {} }) };
const TOKENS = "tokens";

class PageDevice {
  readonly texts: string[] = [];
  readonly states: string[] = [];
  readonly #waiting = new Set<() => void>();
  #client: LuckyClient | undefined;
  #store: IndexedDbStore | undefined;

  /** Connects, and resolves when the device has caught up. */
  async start({ url, login, hidden }: DeviceStart): Promise<void> {
    this.#store = new IndexedDbStore("device");
    const client = new LuckyClient({
      url,
      device: { deviceId: "page", deviceClass: DeviceClass.WEB },
      store: this.#store,
      ...(hidden && { clock: hiddenClock }),
    });
    this.#client = client;
    client.on("tokens", (tokens) => {
      localStorage.setItem(TOKENS, toJsonString(TokensSchema, tokens));
    });
    client.on("state", ({ kind }) => this.states.push(kind));
    client.on("message", ({ content }) => {
      this.texts.push(content?.kind.case === "text" ? content.kind.value.text : "");
      for (const wake of this.#waiting) wake();
    });
    if (login) await client.login(login.userName, login.password);
    else client.resume(fromJsonString(TokensSchema, localStorage.getItem(TOKENS)!));
    await client.connect();
    await client.caughtUp();
  }

  /** Sends, and returns the sequence as text. */
  async send(userId: string, text: string): Promise<string> {
    return String((await this.#client!.send({ userId }, text)).sequence);
  }

  /** Resolves with all texts, once there are `count`. */
  async received(count: number): Promise<string[]> {
    while (this.texts.length < count)
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    return this.texts;
  }

  /** Resolves when the store has everything; the page may be reloaded then. */
  async stored(): Promise<void> {
    await this.#store!.flush();
  }
}

declare global {
  var luckyDevice: PageDevice;
}
globalThis.luckyDevice = new PageDevice();
