import assert from "node:assert/strict";
import type pg from "pg";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { type RunningServer, UNKNOWN_USER_ID } from "../../services/server/server.fixture.ts";
import { History } from "../history/history.ts";
import { Device } from "./device.ts";
import { Model, type Outcome } from "./model.ts";
import { type DeviceAttempt, Sends } from "./sends.ts";
import { DEVICE_USERS, MAX_GROUPS, MAX_SERVERS, type Message, type Step, USERS } from "./steps.ts";
import { System } from "./system.ts";

/** Base of user ids: run n has USERS ids from FIRST_USER_ID + n × USERS on. */
const FIRST_USER_ID = 10_000;
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
  #keys = 0;
  #installs = 0;
  #groups = 0;

  private constructor(system: System, nth: number) {
    this.#system = system;
    this.#model = new Model((id) => Number(id) < Number(UNKNOWN_USER_ID));
    this.#sends = new Sends({ system, history: this.history });
    this.#users = Array.from({ length: USERS }, (_, at) => `${FIRST_USER_ID + nth * USERS + at}`);
    this.#devices = DEVICE_USERS.map((_, at) => this.#install(at));
  }

  /** Starts the nth run on a PostgreSQL: it has its own users. */
  static async start(
    scope: { after(close: () => Promise<void>): void },
    pool: pg.Pool,
    nth: number,
  ): Promise<Run> {
    return new Run(await System.start(scope, pool, nth), nth);
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

  async #send({ messages, way, server: nth, crash }: StepOf<"send">): Promise<void> {
    const known: DeviceAttempt[] = [];
    for (const message of messages) {
      const attempt = this.#attemptOf(message, { earlier: known, online: way === "socket" });
      if (attempt !== undefined) known.push(attempt);
    }
    const server = this.#system.server(nth);
    if (crash !== null) {
      this.history.add({ kind: "fault", name: "crash" });
      if (server !== undefined) server.crash = crash;
    }
    const outcomes = await this.#sendBy(way, known, server);
    if (server !== undefined) server.crash = null;
    this.#model.sent(known.map((attempt, at) => ({ attempt, outcome: outcomes[at]! })));
    this.#attempts.push(...known);
    await this.#system.settle();
  }

  async #sendBy(
    way: StepOf<"send">["way"],
    attempts: readonly DeviceAttempt[],
    server: ReturnType<System["server"]>,
  ): Promise<Outcome[]> {
    if (way === "batch") return this.#sends.batch(attempts, server);
    const [online, offline] = [true, false].map((isOnline) =>
      attempts.filter(({ device }) => way === "socket" && device.isOnline === isOnline),
    ) as [DeviceAttempt[], DeviceAttempt[]];
    const others = way === "socket" ? offline : attempts;
    this.#system.prefer(server);
    const [theirs, ours] = await Promise.all([
      this.#sends.rpc(others, server),
      this.#sends.socket(online),
    ]);
    this.#system.prefer(undefined);
    const outcomes = new Map<DeviceAttempt, Outcome>();
    for (const [at, attempt] of others.entries()) outcomes.set(attempt, theirs[at]!);
    for (const [at, attempt] of online.entries()) outcomes.set(attempt, ours[at]!);
    return attempts.map((attempt) => outcomes.get(attempt)!);
  }

  /**
   * The attempt of a message; `earlier` are those of the same step. Undefined when the group does not
   * exist, or the user would write to itself.
   */
  #attemptOf(
    message: Message,
    { earlier, online }: { earlier: readonly DeviceAttempt[]; online: boolean },
  ): DeviceAttempt | undefined {
    const { user, to, again, changed } = message;
    const repeated = again === null ? undefined : [...this.#attempts, ...earlier].at(-1 - again);
    const sender = repeated?.sender ?? this.#users[user]!;
    const own = this.#devices.filter((device) => device.user === sender);
    const device = own.find(({ isOnline }) => isOnline === online) ?? own[0]!;
    if (repeated !== undefined)
      return { ...repeated, device, text: changed ? `${repeated.text}!` : repeated.text };
    const key = `k${++this.#keys}`;
    const common = { sender, device, key, text: `text of ${key}` };
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
    const refused = await this.#refusalOf(server, (running) =>
      running.groups(callerId).addMembers({ groupId, userIds }),
    );
    assert.equal(refused, this.#model.membersAdded(groupId, callerId, userIds), "AddMembers");
    await this.#system.settle();
  }

  async #removeMember({ group, caller, user, server }: StepOf<"removeMember">): Promise<void> {
    const groupId = this.#model.groupIds[group];
    if (groupId === undefined) return;
    const userId = this.#users[user]!;
    const owner = this.#model.ownerOf(groupId);
    const callerId = caller === null ? owner : caller < 0 ? userId : this.#users[caller]!;
    const refused = await this.#refusalOf(server, (running) =>
      running.groups(callerId).removeMember({ groupId, userId }),
    );
    assert.equal(refused, this.#model.memberRemoved(groupId, callerId, userId), "RemoveMember");
    await this.#system.settle();
  }

  /** Calls a server with retries. Returns the reason of a refusal. */
  async #refusalOf(
    server: number,
    call: (server: RunningServer) => Promise<unknown>,
  ): Promise<string | undefined> {
    try {
      await this.#system.call(this.#system.server(server), call);
      return undefined;
    } catch (error) {
      return ErrorReason[reasonOf(error)];
    }
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
    } else
      await this.#system.call(this.#system.server(nth), (running) =>
        running.messages(device.user).acknowledge({ cursors }),
      );
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

  #install(at: number): Device {
    const user = this.#users[DEVICE_USERS[at]!]!;
    return new Device({
      user,
      name: `d${at}-${++this.#installs}`,
      model: this.#model,
      history: this.history,
      call: (call) => this.#system.call(this.#system.server(at), call),
    });
  }

  async #fault(
    step: StepOf<"bus" | "registry" | "kill" | "start" | "clock" | "time">,
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
    else if (step.kind === "clock") {
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
    await this.#receive();
    for (const ms of [SWEEP_MS, GRACE_MS]) {
      await system.advance(ms);
      await this.#receive();
    }
    for (const device of this.#devices.filter(({ isOnline }) => isOnline))
      for (const { conversationId, last } of this.#model.viewsOf(device.user))
        assert.ok(
          device.endOf(conversationId) >= last,
          `${device.name} is online, and has ${conversationId} only up to ${device.endOf(conversationId)} of ${last}`,
        );
    await Promise.all(this.#devices.map((device) => device.syncAll()));
    for (const device of this.#devices) this.#compare(device);
    await this.#compareReceipts();
    const clients = this.#devices.map(({ name: client, user }) => ({ client, user }));
    this.history.add({ kind: "quiet", clients });
  }

  #compare(device: Device): void {
    const views = this.#model.viewsOf(device.user);
    assert.deepEqual(device.views, views, `the conversations of ${device.name}`);
    for (const view of views)
      assert.deepEqual(
        device.entriesOf(view),
        this.#model.entriesOf(view),
        `the log of ${view.conversationId} on ${device.name}`,
      );
  }

  async #compareReceipts(): Promise<void> {
    for (const conversationId of this.#model.groupIds) {
      const asked = this.#model.ownerOf(conversationId);
      const { receipts } = await this.#system.call(this.#system.server(0), (running) =>
        running.messages(asked).listReceipts({ conversationId }),
      );
      const seen = receipts.map(({ userId: user, deliveredSequence, readSequence }) => ({
        user,
        delivered: Number(deliveredSequence),
        read: Number(readSequence),
      }));
      assert.deepEqual(seen, this.#model.receiptsOf(conversationId), "the receipts of a group");
    }
  }
}
