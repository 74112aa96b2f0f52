import type { Counts } from "./accounting/ledger.ts";
import { Ledger } from "./accounting/ledger.ts";
import type { Round } from "./accounting/measurement.ts";
import { Measurement } from "./accounting/measurement.ts";
import type { GeneratorApi, Setup } from "./api.ts";
import { type AcknowledgementLoad, acknowledgeAll } from "./devices/acknowledgement-load.ts";
import type { SyncOptions } from "./devices/catch-up.ts";
import { catchUpAll } from "./devices/catch-up.ts";
import type { Device, DeviceEvents } from "./devices/device.ts";
import { DeviceCalls } from "./devices/device-calls.ts";
import type { OpenOptions } from "./devices/devices.ts";
import { Devices } from "./devices/devices.ts";
import { type PageSyncOptions, syncAllPages } from "./devices/page-sync.ts";
import { WriteBuffer } from "./devices/write-buffer.ts";
import type { Dialect } from "./dialects/dialect.ts";
import { dialects } from "./dialects/dialects.ts";
import type { MessageKey } from "./dialects/key.ts";
import { readRefusal } from "./dialects/refusal.ts";
import { type FixedRateTimer, startFixedRateTimer } from "./timing/fixed-rate-timer.ts";
import type { Load } from "./timing/load.ts";
import { createMicrosecondClock, type MicrosecondClock } from "./timing/microsecond-clock.ts";

/** Simulates devices: opens their sessions, sends the load, and accounts for every message. */
export class Generator implements GeneratorApi {
  readonly #writeBuffer = new WriteBuffer();
  readonly #calls = new DeviceCalls();
  /**
   * Number of the next message, by index of the sender. All senders of a group share the number at index 0.
   */
  readonly #numbers: number[] = [];
  readonly #key: MessageKey = { timeUs: 0, user: 0, number: 0 };
  /** Deliveries that are missing, by burst. */
  readonly #missing: number[] = [];
  /** Cursor of each device's last Sync, by index. */
  readonly #cursors = new Map<number, string>();
  #setup: Setup | undefined;
  #dialect: Dialect | undefined;
  #ledger: Ledger | undefined;
  #clockUs: MicrosecondClock = () => 0;
  #devices: Devices | undefined;
  #measurement: Measurement | undefined;
  #load: Load | undefined;
  #timer: FixedRateTimer | undefined;
  #nextSender = 0;

  async setup(setup: Setup): Promise<void> {
    this.#setup = setup;
    this.#ledger = new Ledger(setup);
    this.#clockUs = createMicrosecondClock(setup.epochOffsetUs);
    this.#measurement = new Measurement(this.#clockUs);
    this.#dialect = await dialects[setup.dialect]();
    this.#devices = new Devices({
      dialect: this.#dialect,
      text: setup.text,
      acknowledgeMs: setup.acknowledgeMs,
      writeBuffer: this.#writeBuffer,
      clockUs: this.#clockUs,
      events: this.#events,
    });
  }

  open(options: OpenOptions) {
    for (const { index } of options.devices) {
      this.#required(this.#ledger).open(index);
      this.#numbers[index] ??= 0;
    }
    return this.#required(this.#devices).open(options);
  }

  async cut(): Promise<void> {
    this.#required(this.#devices).cut();
  }

  async start(load: Load): Promise<void> {
    const senders = this.#required(this.#devices).senders;
    this.#load = load;
    if (load.kind === "window") {
      for (const device of senders) {
        for (let n = 0; n < load.window; n++) this.#send(device, this.#clockUs());
      }
    } else if (load.kind === "rounds") {
      for (let n = 0; n < load.window; n++) this.#burst(this.#clockUs(), load.burst);
    } else {
      const { burst } = load;
      this.#timer = startFixedRateTimer({
        clockUs: this.#clockUs,
        intervalUs: (1e6 * burst) / load.perSecond,
        due: (dueUs) => this.#burst(dueUs, burst),
      });
    }
    this.#writeBuffer.flush();
  }

  async beginMeasurement(): Promise<Counts> {
    this.#required(this.#measurement).begin();
    return structuredClone(this.#counts);
  }

  async endMeasurement() {
    const effort = this.#required(this.#measurement).end();
    return { counts: structuredClone(this.#counts), effort };
  }

  async latencies() {
    return this.#required(this.#measurement).latencies;
  }

  async stop(): Promise<void> {
    this.#load = undefined;
    this.#timer?.stop();
  }

  async counts(): Promise<Counts> {
    return this.#counts;
  }

  async rounds(): Promise<Round[]> {
    return this.#required(this.#measurement).rounds;
  }

  sync(options: SyncOptions) {
    return catchUpAll({
      ...options,
      devices: this.#required(this.#devices),
      calls: this.#calls,
      clockUs: this.#clockUs,
    });
  }

  syncPages(options: PageSyncOptions) {
    const devices = this.#required(this.#devices);
    return syncAllPages({ ...options, devices, calls: this.#calls, cursors: this.#cursors });
  }

  acknowledge(load: AcknowledgementLoad) {
    const devices = this.#required(this.#devices);
    return acknowledgeAll({ ...load, devices, dialect: this.#required(this.#dialect) });
  }

  readonly #events: DeviceEvents = {
    accepted: (device) => {
      this.#counts.accepted++;
      if (this.#load?.kind === "window") this.#send(device, this.#clockUs());
    },
    refused: (device, key, result) => this.#refused(device, key, result),
    delivered: (device, key, sequence) => {
      if (!this.#required(this.#ledger).delivered(device.index, key, sequence)) return;
      this.#measurement?.delivered(key, this.#required(this.#setup).shared);
      if (this.#load?.kind === "rounds") this.#countDown(this.#load, key.number);
    },
    syncRequired: () => {
      this.#counts.syncRequired++;
    },
    answered: (device, result) => this.#calls.answered(device, result),
    ended: (device, code, reason) => {
      this.#required(this.#ledger).ended(code, reason);
      this.#calls.ended(device, `${code} ${reason}`.trim());
      this.#devices?.remove(device);
    },
  };

  #send(device: Device, dueUs: number): void {
    const counter = this.#required(this.#setup).shared ? 0 : device.index;
    const key = this.#key;
    key.timeUs = dueUs;
    key.user = device.index;
    key.number = this.#numbers[counter]!;
    this.#numbers[counter] = key.number + 1;
    this.#counts.sent++;
    device.send(key);
  }

  /** Sends several messages of the next sender in one write. */
  #burst(dueUs: number, burst: number): void {
    const senders = this.#required(this.#devices).senders;
    const device = senders[this.#nextSender++ % senders.length];
    if (!device?.isOpen) return;
    for (let n = 0; n < burst; n++) this.#send(device, dueUs);
    if (this.#load?.kind === "rounds") this.#missing.push(burst * (senders.length - 1));
    this.#writeBuffer.flush();
    this.#required(this.#measurement).sent(dueUs, burst);
  }

  #countDown({ burst }: Load & { kind: "rounds" }, number: number): void {
    const round = Math.floor(number / burst);
    this.#missing[round]! -= 1;
    if (this.#missing[round] === 0) this.#burst(this.#clockUs(), burst);
  }

  #refused(device: Device, key: Readonly<MessageKey> | undefined, result: Uint8Array): void {
    const ledger = this.#required(this.#ledger);
    const retryMs = ledger.refused(key, readRefusal(result), this.#load);
    if (key === undefined || retryMs === undefined) return;
    const retried = { ...key };
    setTimeout(() => {
      device.send(retried);
      this.#writeBuffer.flush();
    }, retryMs);
  }

  get #counts(): Counts {
    return this.#required(this.#ledger).counts;
  }

  #required<T>(part: T | undefined): T {
    if (part === undefined) throw new Error("the generator was not set up");
    return part;
  }
}
