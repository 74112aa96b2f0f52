import type { Socket } from "node:net";
import {
  create,
  type DescMethod,
  type DescMethodUnary,
  type Message,
  toBinary,
} from "@bufbuild/protobuf";
import { Code, ConnectError, type Interceptor, type Transport } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import {
  type Answer,
  AnswerSchema,
  type Call,
  LeaveSchema,
  LinkErrorSchema,
  RefusedSchema,
} from "#gen/lucky/internal/link/v1/link_pb.js";
import type { Clock } from "#platform/clock.ts";
import { detailOf, fail } from "#platform/errors.ts";
import { excerpt } from "#platform/excerpt.ts";
import type { MeshCallers } from "#platform/identity/mesh-callers.ts";
import type { Log } from "#platform/log.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { createLineSampler } from "#platform/rpc/interceptors/line-sampler.ts";
import { toPublicError } from "#platform/rpc/interceptors/public-error.ts";
import { decode, encode } from "#platform/rpc/lean/codecs.ts";
import { Frames, fieldsWith, headersOf } from "#platform/rpc/lean/lean-frames.ts";
import { ruleBook } from "#platform/rpc/rules.ts";
import type { Served } from "#platform/rpc/served.ts";
import { SERVICE_NAMES, type ServiceName } from "#platform/service-name.ts";
import { createRequestBound } from "#platform/validation/request-bound.ts";

/** Field numbers: ANSWER in LinkFrame, the others in Answer. */
const ANSWER = 4;
const ANSWER_ERROR = 5;
const ANSWER_RESPONSE = 15;

/** Time-out for the Open frame with the secret, from the preface on, ms. */
const OPEN_TIMEOUT_MS = 10_000;
/** Maximum links without an Open frame yet. One more evicts the oldest. */
const MAX_UNOPENED = 100;
/** Maximum calls in flight on one link. More are refused with OVERLOADED. */
const MAX_CALLS = 10_000;
const RETRY_AFTER_MS = 100;

export interface LeanServerOptions {
  readonly served: readonly Served[];
  readonly interceptors: readonly Interceptor[];
  readonly mesh: MeshCallers;
  readonly log: Log;
  readonly clock: Clock;
  /** Whether the instance cannot serve at the moment, see LinkError; never when absent. */
  readonly impaired?: (() => boolean) | undefined;
}

/** The service's end of the links that callers open. */
export interface LeanServer {
  /** Serves a connection whose preface has been read. */
  take(socket: Socket): void;
  /** Sends Leave to all callers and refuses new calls. Connections end with their last call. */
  leave(): void;
}

/**
 * Serves the unary methods of services over links. A link is identified once, by its first frame: all
 * its calls are those of one calling service, regardless of their headers.
 */
export function leanServer(options: LeanServerOptions): LeanServer {
  const { served, log, clock, impaired = () => false } = options;
  const transportFor = transportFinder(options);
  const decodeRequest = requestDecoder();
  const methods = new Map<string, DescMethod>();
  for (const { service } of served) {
    for (const method of service.methods) {
      methods.set(`${service.typeName}/${method.name}`, method);
    }
  }
  const links = new Set<() => void>();
  /** Links without an Open frame yet, the oldest first. */
  const unopened = new Set<Socket>();
  let leaving = false;

  async function carryOut(
    transport: Transport,
    { method: name, timeoutMs, headers, request }: Call,
    signal: AbortSignal,
  ): Promise<{ header: Headers; response: Uint8Array }> {
    const method = methods.get(name);
    if (method?.methodKind !== "unary") {
      throw fail(ErrorReason.METHOD_NOT_FOUND, `${excerpt(name)} is not served here`);
    }
    const { header, message } = await transport.unary(
      method as DescMethodUnary,
      signal,
      timeoutMs === 0 ? undefined : timeoutMs,
      headersOf(headers),
      decodeRequest(method, request),
    );
    return { header, response: encode(method.output, message) };
  }

  function take(socket: Socket): void {
    const calls = new Map<number, AbortController>();
    /** Undefined until the link is open. */
    let transport: Transport | undefined;
    const leave = () => {
      frames.send({ case: "leave", value: create(LeaveSchema) });
      if (calls.size === 0) socket.end();
    };

    async function answer(through: Transport, call: Call): Promise<void> {
      const { callId } = call;
      const controller = new AbortController();
      calls.set(callId, controller);
      try {
        const { header, response } = await carryOut(through, call, controller.signal);
        if (!calls.has(callId)) return;
        frames.sendWith(ANSWER, fieldsWith(callId, header), ANSWER_RESPONSE, response);
      } catch (thrown) {
        if (!calls.has(callId)) return;
        const error = encodeError(toPublicError(thrown, controller.signal), impaired());
        frames.sendWith(ANSWER, fieldsWith(callId, new Headers()), ANSWER_ERROR, error);
      } finally {
        if (calls.get(callId) === controller) calls.delete(callId);
        if (leaving && calls.size === 0) socket.end();
      }
    }

    function refuseOverload(callId: number): void {
      const error = fail(ErrorReason.OVERLOADED, "too many calls on one link", {
        retryAfterMs: RETRY_AFTER_MS,
      });
      frames.sendWith(ANSWER, fieldsWith(callId, new Headers()), ANSWER_ERROR, encodeError(error));
    }

    function cancel(callId: number): void {
      const controller = calls.get(callId);
      calls.delete(callId);
      controller?.abort(new ConnectError("the caller no longer waits", Code.Canceled));
    }

    const frames = new Frames(socket, (kind) => {
      if (transport === undefined) {
        transport = transportFor(kind.case === "open" ? kind.value.secret : "", socket);
        opening.stop();
        unopened.delete(socket);
        frames.trust();
        if (leaving) leave();
        return;
      }
      switch (kind.case) {
        case "call":
          if (leaving) frames.send({ case: "answer", value: refused(kind.value.callId) });
          else if (calls.size >= MAX_CALLS) refuseOverload(kind.value.callId);
          else void answer(transport, kind.value);
          break;
        case "cancel":
          cancel(kind.value.callId);
          break;
        case "ping":
          frames.send(kind);
          break;
      }
    });
    const opening = clock.after(OPEN_TIMEOUT_MS, () => socket.destroy());
    const [oldest] = unopened;
    if (unopened.size >= MAX_UNOPENED) oldest?.destroy();
    unopened.add(socket);
    links.add(leave);
    socket.on("error", (err) => log.debug({ event: "link_failed", err }));
    socket.once("close", () => {
      opening.stop();
      unopened.delete(socket);
      links.delete(leave);
      for (const callId of calls.keys()) cancel(callId);
    });
  }

  return {
    take,
    leave() {
      leaving = true;
      for (const leave of links) leave();
    },
  };
}

/**
 * Decodes requests. Throws INVALID_ARGUMENT for one with more fields than its method admits. Requests
 * of at most as many bytes are not counted, so that nearly no batch of sends is: the count would take
 * 0.1 µs a send of 150 bytes.
 */
function requestDecoder(): (method: DescMethod, bytes: Uint8Array) => Message {
  const bound = createRequestBound();
  const rules = ruleBook();
  return (method, bytes) => {
    bound({ schema: method.input, bytes, json: false }, rules(method).maxRequestItems);
    return decode(method.input, bytes);
  };
}

/**
 * Finds the transport of the service that opens a link, by its secret. The returned function throws
 * when no service has the secret.
 */
function transportFinder({ served, interceptors, mesh, log, clock }: LeanServerOptions) {
  const sampler = createLineSampler({ log, clock });
  const transports = new Map<ServiceName | undefined, Transport>(
    SERVICE_NAMES.map((caller) => [caller, localTransport(served, interceptors, { caller })]),
  );
  return (secret: string, socket: Socket): Transport => {
    const transport = transports.get(mesh.identify(secret));
    if (transport !== undefined) return transport;
    if (sampler.admit({ level: "warn", method: "link", reason: "secret not accepted" })) {
      log.warn({ event: "link_refused", peer: socket.remoteAddress });
    }
    throw new Error("a link without an accepted secret");
  };
}

function encodeError(error: ConnectError, isImpaired = false): Uint8Array {
  const detail = detailOf(error);
  const { code, rawMessage: text } = error;
  const impaired = isImpaired && code === Code.Unavailable;
  return toBinary(
    LinkErrorSchema,
    create(LinkErrorSchema, { code, text, impaired, ...(detail && { detail }) }),
  );
}

function refused(callId: number): Answer {
  const outcome = { case: "refused" as const, value: create(RefusedSchema) };
  return create(AnswerSchema, { callId, outcome });
}
