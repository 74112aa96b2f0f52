import { Histogram } from "../../statistics/histogram.ts";
import type { Dialect, Target } from "../dialects/dialect.ts";
import type { MicrosecondClock } from "../timing/microsecond-clock.ts";
import { Device, type DeviceEvents } from "./device.ts";
import type { WriteBuffer } from "./write-buffer.ts";

const READ_BYTES = 262_144;
/** Devices are divided into groups for heartbeats; at each interval (milliseconds) one group sends. */
const HEARTBEAT_MS = 1_000;
const HEARTBEAT_GROUPS = 10;
/**
 * Maximum attempts to open a session, with retries at a fixed interval; the error of the last one fails the
 * run.
 */
const OPEN_ATTEMPTS = 20;
const OPEN_RETRY_MS = 250;

/** A device that a generator simulates. */
export interface DeviceSpec {
  /** Index among all devices of the bench, over all generators. */
  readonly index: number;
  readonly url: string;
  readonly token: string;
  /** Undefined for a device that sends nothing. */
  readonly target?: Target;
  readonly localAddress?: string;
}

export interface OpenOptions {
  readonly devices: readonly DeviceSpec[];
  /** Handshakes in flight. */
  readonly atOnce: number;
}

/** Result of opening sessions. */
export interface OpenResult {
  readonly elapsedUs: number;
  readonly cpuUs: number;
  /** Failed attempts; each was retried. */
  readonly failed: number;
  readonly failures: Record<string, number>;
  /** Time from the first attempt to the welcome, µs, as counts by slot. */
  readonly latencies: Float64Array;
}

export interface DevicesOptions {
  readonly dialect: Dialect;
  readonly text: string;
  /** How long acknowledgements are batched; 0 for none. */
  readonly acknowledgeMs: number;
  readonly writeBuffer: WriteBuffer;
  readonly clockUs: MicrosecondClock;
  readonly events: DeviceEvents;
}

/** The devices of a generator, with their timers for acknowledgements and heartbeats. */
export class Devices {
  readonly #options: DevicesOptions;
  readonly #all = new Set<Device>();
  readonly #readBuffer = Buffer.allocUnsafeSlow(READ_BYTES);
  /** Devices that send. */
  readonly senders: Device[] = [];
  #heartbeats = 0;

  constructor(options: DevicesOptions) {
    this.#options = options;
    const { acknowledgeMs } = options;
    if (acknowledgeMs > 0) {
      setInterval(() => {
        const nowUs = options.clockUs();
        this.#each((device) => device.acknowledge(nowUs));
      }, acknowledgeMs);
    }
    setInterval(() => {
      const group = this.#heartbeats++ % HEARTBEAT_GROUPS;
      this.#each((device) => {
        if (device.index % HEARTBEAT_GROUPS === group) device.heartbeat();
      });
    }, HEARTBEAT_MS);
  }

  get all(): ReadonlySet<Device> {
    return this.#all;
  }

  remove(device: Device): void {
    this.#all.delete(device);
  }

  /** Opens sessions. Retries a failed one for some seconds. */
  async open({ devices, atOnce }: OpenOptions): Promise<OpenResult> {
    const { clockUs } = this.#options;
    const latencies = new Histogram();
    const failures: Record<string, number> = {};
    const opened: Device[] = [];
    const beganUs = clockUs();
    const cpuBefore = process.cpuUsage();
    let failed = 0;
    const remaining = devices.entries();
    const work = async () => {
      for (const [at, spec] of remaining) {
        const sinceUs = clockUs();
        for (let attempt = 1; ; attempt++) {
          try {
            opened[at] = await this.#open(spec);
            break;
          } catch (error) {
            if (attempt === OPEN_ATTEMPTS) throw error;
            const { message } = error as Error;
            failures[message] = (failures[message] ?? 0) + 1;
            failed++;
            await new Promise((resolve) => setTimeout(resolve, OPEN_RETRY_MS));
          }
        }
        latencies.add(clockUs() - sinceUs);
      }
    };
    await Promise.all(Array.from({ length: Math.min(atOnce, devices.length) }, work));
    for (const [at, device] of opened.entries()) {
      this.#all.add(device);
      if (devices[at]!.target) this.senders.push(device);
    }
    const { user, system } = process.cpuUsage(cpuBefore);
    return {
      elapsedUs: clockUs() - beganUs,
      cpuUs: user + system,
      failed,
      failures,
      latencies: latencies.counts,
    };
  }

  /** Flushes the write buffer. */
  flush(): void {
    this.#options.writeBuffer.flush();
  }

  /** Cuts all connections. */
  cut(): void {
    for (const device of this.#all) device.cut();
    this.#all.clear();
    this.senders.length = 0;
  }

  #open({ index, url, token, target, localAddress }: DeviceSpec): Promise<Device> {
    const { dialect, text, writeBuffer, events } = this.#options;
    return Device.open({
      index,
      url,
      token,
      localAddress,
      dialect,
      template: target && dialect.sendTemplate(target, text),
      writeBuffer,
      readBuffer: this.#readBuffer,
      events,
    });
  }

  #each(work: (device: Device) => void): void {
    for (const device of this.#all) work(device);
    this.#options.writeBuffer.flush();
  }
}
