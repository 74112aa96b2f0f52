import assert from "node:assert/strict";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { SendResult } from "#gen/lucky/message/v1/message_pb.js";
import { bucketOf, bucketOfPair } from "#platform/buckets/bucket.ts";
import { detailOf } from "#platform/errors.ts";
import {
  contentOf,
  type RunningServer,
  toConversation,
  toUser,
} from "../../services/server/server.fixture.ts";
import { contentHash, type History } from "../history/history.ts";
import type { Device } from "./device.ts";
import type { FaultyServer } from "./faulty-server.ts";
import type { Attempt, Outcome } from "./model.ts";
import { isTemporary, isTemporaryReason, type System } from "./system.ts";

/** Polls for the results of sends: in total longer than the retries of connect. */
const WAITS = 40;
const WAIT_MS = 500;
/** Maximum rounds of sends, and among them those without a new server after a move. */
const ROUNDS = 7;
const MOVE_ROUNDS = 2;

/** An attempt, with the device that makes it. */
export interface DeviceAttempt extends Attempt {
  readonly device: Device;
}

/**
 * Sends attempts, with retries until each has an answer, and records them. Attempts to conversations
 * that no server can reach keep a temporary answer.
 */
export class Sends {
  readonly #system: System;
  readonly #history: History;

  constructor(options: { system: System; history: History }) {
    this.#system = options.system;
    this.#history = options.history;
  }

  /** Sends attempts at the same time, to a server first. Returns their outcomes in their order. */
  async by(
    way: "batch" | "rpc" | "socket",
    attempts: readonly DeviceAttempt[],
    server: FaultyServer | undefined,
  ): Promise<Outcome[]> {
    if (way === "batch") return this.#batch(attempts, server);
    const [online, offline] = [true, false].map((isOnline) =>
      attempts.filter(({ device }) => way === "socket" && device.isOnline === isOnline),
    ) as [DeviceAttempt[], DeviceAttempt[]];
    const others = way === "socket" ? offline : attempts;
    this.#system.prefer(server);
    const [theirs, ours] = await Promise.all([this.rpc(others, server), this.#socket(online)]);
    this.#system.prefer(undefined);
    const outcomes = new Map<DeviceAttempt, Outcome>();
    for (const [at, attempt] of others.entries()) outcomes.set(attempt, theirs[at]!);
    for (const [at, attempt] of online.entries()) outcomes.set(attempt, ours[at]!);
    return attempts.map((attempt) => outcomes.get(attempt)!);
  }

  /** Sends all attempts in one batch of a server. */
  async #batch(
    attempts: readonly DeviceAttempt[],
    first: FaultyServer | undefined,
  ): Promise<Outcome[]> {
    return this.#retrying(attempts, async (rest) => {
      const ops = rest.map((attempt) => this.#begin(attempt));
      const send = async (server: RunningServer) => {
        const results = await server.append(...rest.map(outgoing));
        return results.map((result, at) => this.#end(ops[at]!, outcomeOf(result)));
      };
      const areBlocked = () => rest.every((attempt) => this.isBlocked(attempt));
      return this.#system.call(first, send, areBlocked).catch((error: unknown) => {
        if (!isTemporary(error)) throw error;
        return ops.map((op) => this.#end(op, UNAVAILABLE));
      });
    });
  }

  /** Sends each attempt by RPC, all at once, spread over the living servers. */
  async rpc(
    attempts: readonly DeviceAttempt[],
    first: FaultyServer | undefined,
  ): Promise<Outcome[]> {
    const { alive } = this.#system;
    const from = first === undefined ? 0 : alive.indexOf(first);
    const send = async (attempt: DeviceAttempt, at: number): Promise<Outcome> => {
      const op = this.#begin(attempt);
      const request = requestOf(attempt);
      const server = alive[(from + at) % Math.max(1, alive.length)];
      try {
        const { accepted } = await this.#system.call(
          server,
          (running) => running.messages(attempt.sender).send(request),
          () => this.isBlocked(attempt),
        );
        return this.#end(op, positionOf(accepted!));
      } catch (error) {
        const detail = detailOf(error);
        if (detail === undefined) throw error;
        return this.#end(op, { refused: ErrorReason[detail.reason]! });
      }
    };
    return Promise.all(attempts.map(send));
  }

  /** Sends each attempt over the session of its device. */
  async #socket(attempts: readonly DeviceAttempt[]): Promise<Outcome[]> {
    return this.#retrying(attempts, async (rest) => {
      const ops = rest.map((attempt) => this.#begin(attempt));
      for (const attempt of rest) attempt.device.send({ case: "send", value: requestOf(attempt) });
      const results = await this.#resultsOf(rest);
      return rest.map((attempt, at) => {
        const outcome = this.#end(ops[at]!, outcomeOf(results[at]!));
        if ("sequence" in outcome) attempt.device.accepted(attempt, outcome);
        return outcome;
      });
    });
  }

  /** Waits for the results of sends on sockets. They name the key, not the send. */
  async #resultsOf(attempts: readonly DeviceAttempt[]): Promise<SendResult[]> {
    const found: (SendResult | undefined)[] = attempts.map(() => undefined);
    const devices = new Set(attempts.map(({ device }) => device));
    for (let wait = 0; wait < WAITS; wait++) {
      for (const device of devices) {
        for (const result of await device.takeResults()) {
          const at = attempts.findIndex(
            (one, nth) =>
              found[nth] === undefined &&
              one.device === device &&
              one.key === result.clientMessageId,
          );
          assert.ok(at >= 0, `a result without a send: ${result.clientMessageId}`);
          found[at] = result;
        }
      }
      if (found.every((result) => result !== undefined)) return found as SendResult[];
      if (wait === 0) await this.#system.settle();
      else {
        await this.#system.databases.moving;
        await this.#system.advance(WAIT_MS);
      }
    }
    throw new Error(`${found.filter((one) => one === undefined).length} sends got no result`);
  }

  /** Repeats the attempts with a temporary outcome until there are none. */
  async #retrying(
    attempts: readonly DeviceAttempt[],
    send: (attempts: readonly DeviceAttempt[]) => Promise<Outcome[]>,
  ): Promise<Outcome[]> {
    const outcomes = new Map<DeviceAttempt, Outcome>();
    let rest = attempts;
    for (let round = 1; rest.length > 0; round++) {
      assert.ok(round <= ROUNDS, `no server answers: ${JSON.stringify([...outcomes.values()])}`);
      const answers = await send(rest);
      for (const [at, attempt] of rest.entries()) outcomes.set(attempt, answers[at]!);
      rest = rest.filter((attempt) => isOpen(outcomes.get(attempt)!));
      if (rest.length === 0) break;
      const moved = await this.#system.moveEnds();
      rest = rest.filter((attempt) => !this.isBlocked(attempt));
      if (rest.length > 0 && !(moved && round <= MOVE_ROUNDS))
        this.#system.prefer(await this.#system.startServer());
    }
    return attempts.map((attempt) => outcomes.get(attempt)!);
  }

  /** Whether no server can reach the conversation of an attempt. */
  isBlocked({ sender, to }: Attempt): boolean {
    const bucket = "peer" in to ? bucketOfPair(sender, to.peer) : bucketOf(to.group);
    return this.#system.databases.isBlocked(bucket);
  }

  #begin({ device, sender: user, to, key, text, repeatsRecalled }: DeviceAttempt): number {
    const op = this.#history.nextOp();
    const target = "peer" in to ? { user: to.peer } : { conversation: to.group };
    const hash = repeatsRecalled ? "" : contentHash(text);
    this.#history.add({ kind: "send", op, client: device.name, user, to: target, key, hash });
    return op;
  }

  #end(op: number, outcome: Outcome): Outcome {
    if ("sequence" in outcome) {
      const { conversationId: conversation, sequence, messageId: message } = outcome;
      const accepted = { outcome: "accepted", conversation, sequence, message } as const;
      this.#history.add({ kind: "sent", op, ...accepted });
    } else if (isOpen(outcome)) this.#history.add({ kind: "sent", op, outcome: "unknown" });
    else this.#history.add({ kind: "sent", op, outcome: "refused", reason: outcome.refused });
    return outcome;
  }
}

const UNAVAILABLE: Outcome = { refused: "UNAVAILABLE" };

/** Whether a send must be retried. */
export function isOpen(outcome: Outcome): boolean {
  return "refused" in outcome && isTemporaryReason(outcome.refused);
}

function targetOf({ to }: Attempt) {
  return "peer" in to ? toUser(to.peer) : toConversation(to.group);
}

function requestOf(attempt: Attempt) {
  const { key: clientMessageId, text, mentions } = attempt;
  const target = targetOf(attempt);
  return { target, clientMessageId, content: contentOf(text), mentionedUserIds: [...mentions] };
}

function outgoing(attempt: Attempt) {
  const { sender: from, key, text, mentions } = attempt;
  return { from, to: targetOf(attempt), key, text, mentions };
}

function outcomeOf({ outcome }: SendResult): Outcome {
  if (outcome.case === "accepted") return positionOf(outcome.value);
  // A result without an outcome: the send failed, while others of its batch did not.
  if (outcome.case === undefined) return UNAVAILABLE;
  return { refused: ErrorReason[outcome.value.error!.reason]! };
}

function positionOf(accepted: {
  conversationId: string;
  sequence: bigint;
  messageId: string;
}): Outcome {
  const { conversationId, sequence, messageId } = accepted;
  return { conversationId, sequence: Number(sequence), messageId };
}
