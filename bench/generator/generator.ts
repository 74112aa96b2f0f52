import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { readVarint, scan } from "../../platform/wire.ts";
import type { Counts, GeneratorApi, Load, Round, Setup } from "./api.ts";
import { type CatchUp, createCatchUp } from "./catch-up.ts";
import type { Device, DeviceEvents } from "./device.ts";
import { Devices } from "./devices.ts";
import { dialects } from "./dialects.ts";
import { Follow, noFollows } from "./follow.ts";
import type { MessageKey } from "./key.ts";
import { Measuring } from "./measuring.ts";
import { createMicros, type Micros } from "./micros.ts";
import { Outgoing } from "./outgoing.ts";
import { type Pace, startPace } from "./pace.ts";

const REPEAT_MS = 100;
/** Reasons that pass: the message may be sent again. */
const passing = new Set([
  ErrorReason.OVERLOADED,
  ErrorReason.UNAVAILABLE,
  ErrorReason.RATE_LIMITED,
]);

/** Field numbers on the way from a SendResult to the reason of its refusal. */
const REFUSED = 3;
const ERROR = 1;
const REASON = 1;

/** Why a send was refused; read without decoding the rest, because it may come for every second one. */
function reasonOf(result: Uint8Array): ErrorReason {
  let reason = ErrorReason.UNSPECIFIED;
  for (const [outer, , from, to] of scan(result)) {
    if (outer !== REFUSED) continue;
    for (const [inner, , errorFrom, errorTo] of scan(result, from, to)) {
      if (inner !== ERROR) continue;
      for (const [field, , at] of scan(result, errorFrom, errorTo)) {
        if (field === REASON) reason = readVarint(result, at);
      }
    }
  }
  return reason;
}

/** Plays devices: opens their sessions, sends as told, and keeps account of every message. */
export class Generator implements GeneratorApi {
  readonly #outgoing = new Outgoing();
  readonly #counts: Counts = {
    ...noFollows(),
    sent: 0,
    accepted: 0,
    refused: 0,
    refusals: {},
    syncRequired: 0,
    ended: {},
  };
  readonly #follows: Follow[] = [];
  /** Next number by index of the sender; of a group by 0. */
  readonly #numbers: number[] = [];
  readonly #key: MessageKey = { timeUs: 0, user: 0, number: 0 };
  /** Deliveries that are left of each burst. */
  readonly #left: number[] = [];
  #setup: Setup | undefined;
  #micros: Micros = () => 0;
  #devices: Devices | undefined;
  #measuring: Measuring | undefined;
  #catchUp: CatchUp | undefined;
  #load: Load | undefined;
  #pace: Pace | undefined;
  #turn = 0;

  async setup(setup: Setup): Promise<void> {
    this.#setup = setup;
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

  open(options: Parameters<GeneratorApi["open"]>[0]) {
    for (const { index } of options.devices) {
      this.#follows[index] ??= new Follow(this.#counts);
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
        late: (lateUs, busy) => this.#measuring?.late(lateUs, burst, busy),
      });
    }
    this.#outgoing.flush();
  }

  async measure(): Promise<void> {
    this.#must(this.#measuring).begin();
  }

  async measured() {
    return this.#must(this.#measuring).end(structuredClone(this.#counts));
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

  sync(options: Parameters<GeneratorApi["sync"]>[0]) {
    return this.#must(this.#catchUp).run(this.#must(this.#devices), options);
  }

  readonly #events: DeviceEvents = {
    accepted: (device) => {
      this.#counts.accepted++;
      if (this.#load?.kind === "window") this.#send(device, this.#micros());
    },
    refused: (device, key, result) => this.#refused(device, key, result),
    delivered: (device, key, sequence) => {
      // The sender's own messages come back in a group.
      if (key.user === device.index) return;
      if (!this.#follows[device.index]!.deliver(key.number, sequence)) return;
      this.#measuring?.delivered(key, this.#must(this.#setup).shared);
      if (this.#load?.kind === "rounds") this.#countDown(this.#load, key.number);
    },
    syncRequired: () => {
      this.#counts.syncRequired++;
    },
    answered: (device, result) => this.#catchUp?.answered(device, result),
    ended: (device, code, reason) => {
      const name = `${code} ${reason}`.trim();
      this.#counts.ended[name] = (this.#counts.ended[name] ?? 0) + 1;
      this.#catchUp?.ended(device, name);
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
    const measuring = this.#must(this.#measuring);
    for (let n = 0; n < burst; n++) this.#send(device, dueUs);
    if (this.#load?.kind === "rounds") this.#left.push(burst * (senders.length - 1));
    this.#outgoing.flush();
    measuring.sent(this.#micros() - dueUs, burst);
  }

  #countDown({ burst }: Load & { kind: "rounds" }, number: number): void {
    const round = Math.floor(number / burst);
    this.#left[round]! -= 1;
    if (this.#left[round] === 0) this.#burst(this.#micros(), burst);
  }

  #refused(device: Device, key: Readonly<MessageKey> | undefined, result: Uint8Array): void {
    const reason = reasonOf(result);
    const name = ErrorReason[reason] ?? String(reason);
    this.#counts.refusals[name] = (this.#counts.refusals[name] ?? 0) + 1;
    if (this.#load?.kind !== "window" || key === undefined || !passing.has(reason)) {
      this.#counts.refused++;
      return;
    }
    const again = { ...key };
    setTimeout(() => {
      device.send(again);
      this.#outgoing.flush();
    }, REPEAT_MS);
  }

  #must<T>(part: T | undefined): T {
    if (part === undefined) throw new Error("the generator was not set up");
    return part;
  }
}
