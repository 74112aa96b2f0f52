import assert from "node:assert/strict";
import { bucketOf, bucketOfGroup, bucketOfPair } from "#platform/buckets/bucket.ts";
import { type RunningServer, UNKNOWN_USER_ID } from "../../services/server/server.fixture.ts";
import { History } from "../history/history.ts";
import { applyChange, callOf, changeOf, mustAnswer } from "./changes.ts";
import { compareDevice, compareHistory, compareReceipts, mustHaveAll } from "./compare.ts";
import type { Databases } from "./databases.ts";
import { Device } from "./device.ts";
import { Model, type Outcome } from "./model.ts";
import { type DeviceAttempt, isOpen, Sends } from "./sends.ts";
import {
  DEVICE_USERS,
  JUMPING_DEVICES,
  MAX_GROUPS,
  MAX_SERVERS,
  type Message,
  type Move,
  PAIRS,
  type Step,
  USERS,
} from "./steps.ts";
import { System } from "./system.ts";

/** With these users, pairs and groups are in all of three databases. */
const FIRST_USER_ID = 10_005;
/** Time in which the sweep of connect finds a lost delivery, and tells the devices. */
const SWEEP_MS = 26_000;
const GRACE_MS = 6_000;
/** Lifetime of the devices' tokens, seconds. */
const TOKEN_S = 1_000_000;

type StepOf<K extends Step["kind"]> = Extract<Step, { kind: K }>;

/** One run: the steps, on the system and on the model. */
export class Run {
  readonly history = new History();
  readonly #system: System;
  readonly #model: Model;
  readonly #sends: Sends;
  readonly #users: readonly string[];
  readonly #devices: Device[];
  /** All attempts of the run, for repeats. */
  readonly #attempts: DeviceAttempt[] = [];
  /** Attempts to conversations that no server can reach. */
  #waiting: DeviceAttempt[] = [];
  #keys = 0;
  #installs = 0;
  #groups = 0;

  private constructor(system: System) {
    this.#system = system;
    this.#model = new Model((id) => Number(id) < Number(UNKNOWN_USER_ID));
    this.#sends = new Sends({ system, history: this.history });
    this.#users = Array.from({ length: USERS }, (_, at) => `${FIRST_USER_ID + at}`);
    this.#devices = DEVICE_USERS.map((_, at) => this.#install(at));
  }

  static async start(
    scope: { after(close: () => Promise<void>): void },
    databases: Databases,
  ): Promise<Run> {
    return new Run(await System.start(scope, databases));
  }

  /** Takes a step. Throws when the system does not do what the model does. */
  async take(step: Step): Promise<void> {
    switch (step.kind) {
      case "send":
        return this.#send(step);
      case "createGroup":
        return this.#createGroup(step);
      case "addMembers":
        return this.#addMembers(step);
      case "removeMember":
        return this.#removeMember(step);
      case "read":
        return this.#read(step);
      case "change":
        return this.#change(step);
      case "connect":
      case "disconnect":
      case "syncPage":
      case "reinstall":
        return this.#deviceStep(step);
      case "quiet":
        return this.#quiet();
      default:
        return this.#fault(step);
    }
  }

  async #send({ messages, way, server: nth, crash, move }: StepOf<"send">): Promise<void> {
    const known: DeviceAttempt[] = [];
    for (const message of messages) {
      const attempt = this.#attemptOf(message, { earlier: known, online: way === "socket" });
      if (attempt !== undefined) known.push(attempt);
    }
    const server = this.#system.server(nth);
    const bucket = move === null ? undefined : this.#bucketOf(move);
    if (crash !== null && bucket === undefined) {
      this.history.add({ kind: "fault", name: "crash" });
      if (server !== undefined) server.crash = crash;
    }
    const send = () => this.#sends.by(way, known, server);
    if (bucket === undefined) this.#sent(known, await send());
    else {
      this.history.add({ kind: "fault", name: "move" });
      this.#sent(known, await this.#system.databases.moveDuring(bucket, move!, send));
    }
    if (server !== undefined) server.crash = null;
    this.#attempts.push(...known);
    await this.#system.settle();
    if (bucket !== undefined) await this.#retryWaiting();
  }

  /** The bucket that a move concerns; undefined when its group does not exist. */
  #bucketOf({ conversation }: Move): number | undefined {
    const pair = PAIRS[conversation];
    if (pair !== undefined) return bucketOfPair(this.#users[pair[0]]!, this.#users[pair[1]]!);
    const group = this.#model.groupIds[conversation - PAIRS.length];
    return group === undefined ? undefined : bucketOf(group);
  }

  /** Applies sends to the model. Those without an answer wait until their conversation is reachable. */
  #sent(attempts: readonly DeviceAttempt[], outcomes: readonly Outcome[]): void {
    const sends = attempts.map((attempt, at) => ({ attempt, outcome: outcomes[at]! }));
    const waits = ({ attempt, outcome }: (typeof sends)[0]) =>
      isOpen(outcome) && this.#sends.isBlocked(attempt);
    this.#waiting.push(...sends.filter(waits).map(({ attempt }) => attempt));
    this.#model.sent(sends.filter((send) => !waits(send)));
  }

  /** Retries what could not be done, for conversations that servers can reach again. */
  async #retryWaiting(): Promise<void> {
    const waiting = this.#waiting.splice(0);
    this.#waiting = waiting.filter((attempt) => this.#sends.isBlocked(attempt));
    const open = waiting.filter((attempt) => !this.#waiting.includes(attempt));
    this.#sent(open, await this.#sends.rpc(open, this.#system.server(0)));
    if (this.#system.databases.away === undefined)
      for (const device of this.#devices) await device.retrySync();
    await this.#system.settle();
  }

  /**
   * The attempt of a message; `earlier` are those of the same step. Undefined when the group does not
   * exist, or the user would write to itself.
   */
  #attemptOf(
    message: Message,
    { earlier, online }: { earlier: readonly DeviceAttempt[]; online: boolean },
  ): DeviceAttempt | undefined {
    const { user, to, again, changed, mention } = message;
    const repeated = again === null ? undefined : [...this.#attempts, ...earlier].at(-1 - again);
    const sender = repeated?.sender ?? this.#users[user]!;
    const own = this.#devices.filter((device) => device.user === sender);
    const device = own.find(({ isOnline }) => isOnline === online) ?? own[0]!;
    if (repeated !== undefined) {
      const repeatsRecalled = this.#model.repeatsRecalled(repeated);
      const text = changed ? `${repeated.text}!` : repeated.text;
      return { ...repeated, device, text, repeatsRecalled };
    }
    const key = `k${++this.#keys}`;
    const mentions = mention === null || mention === user ? [] : [this.#users[mention]!];
    const common = { sender, device, key, text: `text of ${key}`, mentions };
    if (to < USERS) return to === user ? undefined : { ...common, to: { peer: this.#users[to]! } };
    if (to === USERS + MAX_GROUPS) return { ...common, to: { peer: UNKNOWN_USER_ID } };
    const group = this.#model.groupIds[to - USERS];
    return group === undefined ? undefined : { ...common, to: { group } };
  }

  async #createGroup({ owner: nth, users, server }: StepOf<"createGroup">): Promise<void> {
    if (this.#model.groupIds.length === MAX_GROUPS) return;
    const owner = this.#users[nth]!;
    const userIds = users.map((user) => this.#users[user]!);
    const clientGroupId = `g${this.#groups++}`;
    const create = (running: RunningServer) =>
      running.groups(owner).createGroup({ name: "group", userIds, clientGroupId });
    const bucket = bucketOfGroup(owner, clientGroupId);
    if (this.#system.databases.isBlocked(bucket)) return this.#system.mustFail(server, create);
    const { group } = await this.#system.call(this.#system.server(server), create);
    const again = await this.#system.call(this.#system.server(server + 1), create);
    assert.equal(again.group!.groupId, group!.groupId, "a repeated CreateGroup");
    this.#model.groupCreated({ groupId: group!.groupId, owner, users: userIds });
    await this.#system.settle();
  }

  async #addMembers({ group, caller, users, server }: StepOf<"addMembers">): Promise<void> {
    const groupId = this.#model.groupIds[group];
    if (groupId === undefined) return;
    const callerId = caller === null ? this.#model.ownerOf(groupId) : this.#users[caller]!;
    const userIds = users.map((user) => this.#users[user]!);
    const add = (running: RunningServer) =>
      running.groups(callerId).addMembers({ groupId, userIds });
    if (this.#isBlocked(groupId)) return this.#system.mustFail(server, add);
    const refused = await this.#system.refusalOf(server, add);
    assert.equal(refused, this.#model.membersAdded(groupId, callerId, userIds), "AddMembers");
    await this.#system.settle();
  }

  async #removeMember({ group, caller, user, server }: StepOf<"removeMember">): Promise<void> {
    const groupId = this.#model.groupIds[group];
    if (groupId === undefined) return;
    const userId = this.#users[user]!;
    const owner = this.#model.ownerOf(groupId);
    const callerId = caller === null ? owner : caller < 0 ? userId : this.#users[caller]!;
    const remove = (running: RunningServer) =>
      running.groups(callerId).removeMember({ groupId, userId });
    if (this.#isBlocked(groupId)) return this.#system.mustFail(server, remove);
    const refused = await this.#system.refusalOf(server, remove);
    assert.equal(refused, this.#model.memberRemoved(groupId, callerId, userId), "RemoveMember");
    await this.#system.settle();
  }

  #isBlocked(conversationId: string): boolean {
    return this.#system.databases.isBlocked(bucketOf(conversationId));
  }

  async #read({ device: nth, conversation, except, socket }: StepOf<"read">): Promise<void> {
    const device = this.#devices[nth]!;
    const views = this.#model.viewsOf(device.user);
    const view = views[conversation % Math.max(1, views.length)];
    if (view === undefined) return;
    const { conversationId } = view;
    const bySocket = socket && device.isOnline;
    // A session acknowledges only what its device has.
    const most = bySocket ? device.endOf(conversationId) : Number.POSITIVE_INFINITY;
    const read = Math.min(Math.max(1, view.last - except), most);
    if (read === 0) return;
    const cursors = [{ conversationId, readSequence: BigInt(read) }];
    if (bySocket) {
      device.send({ case: "acknowledge", value: { cursors } });
      await device.flush();
    } else {
      const acknowledge = (running: RunningServer) =>
        running.messages(device.user).acknowledge({ cursors });
      if (this.#isBlocked(conversationId)) return this.#system.mustFail(nth, acknowledge);
      await this.#system.call(this.#system.server(nth), acknowledge);
    }
    this.#model.acknowledged(device.user, conversationId, { delivered: 0, read });
    await this.#system.settle();
  }

  async #deviceStep(
    step: StepOf<"connect" | "disconnect" | "syncPage" | "reinstall">,
  ): Promise<void> {
    const device = this.#devices[step.device]!;
    if (step.kind === "syncPage") await device.syncPage(step.limit);
    else await device.disconnect();
    if (step.kind === "reinstall") this.#devices[step.device] = this.#install(step.device);
    if (step.kind === "connect") {
      // The session of a device that is replaced must not displace the new one.
      await this.#system.settle();
      const untilS = Math.floor(this.#system.clock.now() / 1_000) + TOKEN_S;
      await device.connect(this.#system.connects[step.instance]!, untilS);
    }
  }

  /** A user changes a message. */
  async #change(step: StepOf<"change">): Promise<void> {
    const user = this.#users[step.user]!;
    const views = this.#model.viewsOf(user);
    const view = views[step.conversation % Math.max(1, views.length)];
    if (view === undefined) return;
    const { conversationId } = view;
    const sequence = Math.max(1, view.last - step.nth);
    const change = changeOf(step, `e${++this.#keys}`);
    const call = callOf(change, { user, conversationId, sequence });
    if (this.#isBlocked(conversationId)) return this.#system.mustFail(step.server, call);
    const answers = [await this.#system.refusalOf(step.server, call)];
    if (step.again) answers.push(await this.#system.refusalOf(step.server + 1, call));
    const made = { user, sequence, change };
    mustAnswer(answers, applyChange(this.#model.conversation(conversationId), made), change);
    await this.#system.settle();
  }

  #install(at: number): Device {
    const user = this.#users[DEVICE_USERS[at]!]!;
    return new Device({
      user,
      name: `d${at}-${++this.#installs}`,
      model: this.#model,
      history: this.history,
      call: (call) => this.#system.call(this.#system.server(at), call),
      isBlocked: (conversationId) => this.#isBlocked(conversationId),
      jumps: JUMPING_DEVICES.includes(at),
    });
  }

  async #fault(
    step: StepOf<"bus" | "registry" | "resume" | "database" | "kill" | "start" | "clock" | "time">,
  ): Promise<void> {
    const system = this.#system;
    if (step.kind === "time") {
      await system.advance(step.ms);
      return this.#receive();
    }
    if (step.kind !== "clock" && step.kind !== "start")
      this.history.add({ kind: "fault", name: step.kind });
    if (step.kind === "bus") system.setBus(step.state);
    else if (step.kind === "registry") system.setRegistry(step.down);
    else if (step.kind === "kill") system.server(step.server)?.kill();
    else if (step.kind === "resume") {
      await system.resumeMove();
      await this.#retryWaiting();
    } else if (step.kind === "database") {
      await system.setAway(step.away ?? undefined);
      await this.#retryWaiting();
    } else if (step.kind === "clock") {
      const server = system.server(step.server);
      if (server !== undefined) server.offsetMs = step.offsetMs;
    } else if (system.alive.length < MAX_SERVERS) await system.startServer();
  }

  /** Closes the sessions. */
  async close(): Promise<void> {
    await Promise.all(this.#devices.map((device) => device.disconnect()));
  }

  /** All devices show and acknowledge what has arrived. */
  async #receive(): Promise<void> {
    await Promise.all(this.#devices.map((device) => device.receive()));
    await this.#system.settle();
  }

  /**
   * Repairs all faults. Within one sweep every online device must have everything, without a call of
   * Sync. Then all devices sync from the cursors that they kept, and all views must be those of the
   * model.
   */
  async #quiet(): Promise<void> {
    const system = this.#system;
    await system.repair();
    await this.#retryWaiting();
    await this.#receive();
    for (const ms of [SWEEP_MS, GRACE_MS]) {
      await system.advance(ms);
      await this.#receive();
    }
    const online = this.#devices.filter(({ isOnline }) => isOnline);
    for (const device of online) mustHaveAll(device, this.#model);
    await Promise.all(this.#devices.map((device) => device.syncAll()));
    for (const device of this.#devices) compareDevice(device, this.#model);
    await compareReceipts(system, this.#model);
    await compareHistory(system, { model: this.#model, users: this.#users });
    assert.deepEqual(system.databases.routes.breaches, []);
    system.databases.placesKnown();
    const clients = this.#devices.map(({ name: client, user }) => ({ client, user }));
    this.history.add({ kind: "quiet", clients });
  }
}
