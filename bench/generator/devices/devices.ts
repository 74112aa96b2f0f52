import { Histogram } from "../../statistics/histogram.ts";
import type { Dialect, Target } from "../dialects/dialect.ts";
import type { Micros } from "../timing/microsecond-clock.ts";
import { Device, type DeviceEvents } from "./device.ts";
import type { Outgoing } from "./write-buffer.ts";

const READ_BYTES = 262_144;
/** Every device says that it lives once in so many of these. */
const HEARTBEAT_MS = 1_000;
const HEARTBEAT_TURNS = 10;
const ATTEMPTS = 20;
const AGAIN_MS = 250;

/** A device that a generator is to play. */
export interface DeviceSpec {
  /** Index among all devices of the bench, over all generators. */
  readonly index: number;
  readonly url: string;
  readonly token: string;
  /** Undefined: it only listens. */
  readonly target?: Target;
  readonly localAddress?: string;
}

export interface OpenOptions {
  readonly devices: readonly DeviceSpec[];
  /** Handshakes in flight. */
  readonly atOnce: number;
}

/** What came of opening sessions. */
export interface Opened {
  readonly elapsedUs: number;
  readonly cpuUs: number;
  /** Attempts that failed and were made again. */
  readonly failed: number;
  readonly failures: Record<string, number>;
  /** From the attempt to the welcome, µs. */
  readonly latencies: Float64Array;
}

export interface DevicesOptions {
  readonly dialect: Dialect;
  readonly text: string;
  /** 0 for none. */
  readonly acknowledgeMs: number;
  readonly outgoing: Outgoing;
  readonly micros: Micros;
  readonly events: DeviceEvents;
}

/** The devices of a generator, and what they do by the clock: acknowledge, and say that they live. */
export class Devices {
  readonly #options: DevicesOptions;
  readonly #all = new Set<Device>();
  readonly #readBuffer = Buffer.allocUnsafeSlow(READ_BYTES);
  /** Those that send. */
  readonly senders: Device[] = [];
  #beat = 0;

  constructor(options: DevicesOptions) {
    this.#options = options;
    const { acknowledgeMs } = options;
    if (acknowledgeMs > 0) {
      setInterval(() => {
        const nowUs = options.micros();
        this.#each((device) => device.acknowledge(nowUs));
      }, acknowledgeMs);
    }
    setInterval(() => {
      const beat = this.#beat++ % HEARTBEAT_TURNS;
      this.#each((device) => {
        if (device.index % HEARTBEAT_TURNS === beat) device.heartbeat();
      });
    }, HEARTBEAT_MS);
  }

  get all(): ReadonlySet<Device> {
    return this.#all;
  }

  remove(device: Device): void {
    this.#all.delete(device);
  }

  /** Opens sessions. One that fails is tried again, for some seconds. */
  async open({ devices, atOnce }: OpenOptions): Promise<Opened> {
    const { micros } = this.#options;
    const latencies = new Histogram();
    const failures: Record<string, number> = {};
    const opened: Device[] = [];
    const beganUs = micros();
    const cpuBefore = process.cpuUsage();
    let failed = 0;
    const rest = devices.entries();
    const work = async () => {
      for (const [at, spec] of rest) {
        const sinceUs = micros();
        for (let attempt = 1; ; attempt++) {
          try {
            opened[at] = await this.#open(spec);
            break;
          } catch (error) {
            if (attempt === ATTEMPTS) throw error;
            const { message } = error as Error;
            failures[message] = (failures[message] ?? 0) + 1;
            failed++;
            await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
          }
        }
        latencies.add(micros() - sinceUs);
      }
    };
    await Promise.all(Array.from({ length: Math.min(atOnce, devices.length) }, work));
    for (const [at, device] of opened.entries()) {
      this.#all.add(device);
      if (devices[at]!.target) this.senders.push(device);
    }
    const { user, system } = process.cpuUsage(cpuBefore);
    return {
      elapsedUs: micros() - beganUs,
      cpuUs: user + system,
      failed,
      failures,
      latencies: latencies.counts,
    };
  }

  /** Writes what was added last. */
  flush(): void {
    this.#options.outgoing.flush();
  }

  /** Cuts all sessions. */
  cut(): void {
    for (const device of this.#all) device.cut();
    this.#all.clear();
    this.senders.length = 0;
  }

  #open({ index, url, token, target, localAddress }: DeviceSpec): Promise<Device> {
    const { dialect, text, outgoing, events } = this.#options;
    return Device.open({
      index,
      url,
      token,
      localAddress,
      dialect,
      template: target && dialect.sendTemplate(target, text),
      outgoing,
      readBuffer: this.#readBuffer,
      events,
    });
  }

  #each(work: (device: Device) => void): void {
    for (const device of this.#all) work(device);
    this.#options.outgoing.flush();
  }
}
