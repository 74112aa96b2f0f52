import type { Counts } from "./accounting/ledger.ts";
import { Account } from "./accounting/ledger.ts";
import type { Round } from "./accounting/measurement.ts";
import { Measuring } from "./accounting/measurement.ts";
import type { GeneratorApi, Setup } from "./api.ts";
import type { SyncOptions } from "./devices/catch-up.ts";
import { type CatchUp, createCatchUp } from "./devices/catch-up.ts";
import type { Device, DeviceEvents } from "./devices/device.ts";
import type { OpenOptions } from "./devices/devices.ts";
import { Devices } from "./devices/devices.ts";
import { Outgoing } from "./devices/write-buffer.ts";
import { dialects } from "./dialects/dialects.ts";
import type { MessageKey } from "./dialects/key.ts";
import { readRefusal } from "./dialects/refusal.ts";
import { type Pace, startPace } from "./timing/fixed-rate-timer.ts";
import type { Load } from "./timing/load.ts";
import { createMicros, type Micros } from "./timing/microsecond-clock.ts";

/** Plays devices: opens their sessions, sends as told, and keeps account of every message. */
export class Generator implements GeneratorApi {
  readonly #outgoing = new Outgoing();
  /** Next number by index of the sender; of a group by 0. */
  readonly #numbers: number[] = [];
  readonly #key: MessageKey = { timeUs: 0, user: 0, number: 0 };
  /** Deliveries that are left of each burst. */
  readonly #left: number[] = [];
  #setup: Setup | undefined;
  #account: Account | undefined;
  #micros: Micros = () => 0;
  #devices: Devices | undefined;
  #measuring: Measuring | undefined;
  #catchUp: CatchUp | undefined;
  #load: Load | undefined;
  #pace: Pace | undefined;
  #turn = 0;

  async setup(setup: Setup): Promise<void> {
    this.#setup = setup;
    this.#account = new Account(setup);
    this.#micros = createMicros(setup.epochOffsetUs);
    this.#measuring = new Measuring(this.#micros);
    this.#catchUp = createCatchUp(this.#micros);
    this.#devices = new Devices({
      dialect: await dialects[setup.dialect](),
      text: setup.text,
      acknowledgeMs: setup.acknowledgeMs,
      outgoing: this.#outgoing,
      micros: this.#micros,
      events: this.#events,
    });
  }

  open(options: OpenOptions) {
    for (const { index } of options.devices) {
      this.#must(this.#account).open(index);
      this.#numbers[index] ??= 0;
    }
    return this.#must(this.#devices).open(options);
  }

  async cut(): Promise<void> {
    this.#must(this.#devices).cut();
  }

  async start(load: Load): Promise<void> {
    const senders = this.#must(this.#devices).senders;
    this.#load = load;
    if (load.kind === "window") {
      for (const device of senders) {
        for (let n = 0; n < load.window; n++) this.#send(device, this.#micros());
      }
    } else if (load.kind === "rounds") {
      for (let n = 0; n < load.window; n++) this.#burst(this.#micros(), load.burst);
    } else {
      const { burst } = load;
      this.#pace = startPace({
        micros: this.#micros,
        intervalUs: (1e6 * burst) / load.perSecond,
        due: (dueUs) => this.#burst(dueUs, burst),
      });
    }
    this.#outgoing.flush();
  }

  async measure(): Promise<Counts> {
    this.#must(this.#measuring).begin();
    return structuredClone(this.#counts);
  }

  async measured() {
    const effort = this.#must(this.#measuring).end();
    return { counts: structuredClone(this.#counts), effort };
  }

  async times() {
    return this.#must(this.#measuring).times;
  }

  async stop(): Promise<void> {
    this.#load = undefined;
    this.#pace?.stop();
  }

  async counts(): Promise<Counts> {
    return this.#counts;
  }

  async rounds(): Promise<Round[]> {
    return this.#must(this.#measuring).rounds;
  }

  sync(options: SyncOptions) {
    return this.#must(this.#catchUp).run(this.#must(this.#devices), options);
  }

  readonly #events: DeviceEvents = {
    accepted: (device) => {
      this.#counts.accepted++;
      if (this.#load?.kind === "window") this.#send(device, this.#micros());
    },
    refused: (device, key, result) => this.#refused(device, key, result),
    delivered: (device, key, sequence) => {
      if (!this.#must(this.#account).delivered(device.index, key, sequence)) return;
      this.#measuring?.delivered(key, this.#must(this.#setup).shared);
      if (this.#load?.kind === "rounds") this.#countDown(this.#load, key.number);
    },
    syncRequired: () => {
      this.#counts.syncRequired++;
    },
    answered: (device, result) => this.#catchUp?.answered(device, result),
    ended: (device, code, reason) => {
      this.#must(this.#account).ended(code, reason);
      this.#catchUp?.ended(device, `${code} ${reason}`.trim());
      this.#devices?.remove(device);
    },
  };

  #send(device: Device, dueUs: number): void {
    const run = this.#must(this.#setup).shared ? 0 : device.index;
    const key = this.#key;
    key.timeUs = dueUs;
    key.user = device.index;
    key.number = this.#numbers[run]!;
    this.#numbers[run] = key.number + 1;
    this.#counts.sent++;
    device.send(key);
  }

  /** Several messages of the sender whose turn it is, in one write. */
  #burst(dueUs: number, burst: number): void {
    const senders = this.#must(this.#devices).senders;
    const device = senders[this.#turn++ % senders.length];
    if (!device?.isOpen) return;
    for (let n = 0; n < burst; n++) this.#send(device, dueUs);
    if (this.#load?.kind === "rounds") this.#left.push(burst * (senders.length - 1));
    this.#outgoing.flush();
    this.#must(this.#measuring).sent(dueUs, burst);
  }

  #countDown({ burst }: Load & { kind: "rounds" }, number: number): void {
    const round = Math.floor(number / burst);
    this.#left[round]! -= 1;
    if (this.#left[round] === 0) this.#burst(this.#micros(), burst);
  }

  #refused(device: Device, key: Readonly<MessageKey> | undefined, result: Uint8Array): void {
    const account = this.#must(this.#account);
    const againMs = account.refused(key, readRefusal(result), this.#load);
    if (key === undefined || againMs === undefined) return;
    const again = { ...key };
    setTimeout(() => {
      device.send(again);
      this.#outgoing.flush();
    }, againMs);
  }

  get #counts(): Counts {
    return this.#must(this.#account).counts;
  }

  #must<T>(part: T | undefined): T {
    if (part === undefined) throw new Error("the generator was not set up");
    return part;
  }
}
