import type { DescMethod, DescMethodUnary, MessageInitShape } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type Transport, type UnaryResponse } from "@connectrpc/connect";
import { createAsyncIterable } from "@connectrpc/connect/protocol";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Access } from "#gen/lucky/options/v1/options_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { Instance, Registry } from "#platform/registry/registry.ts";
import { DEFAULT_DEADLINE_MS } from "#platform/rpc/deadline.ts";
import { MESH_HEADER } from "#platform/rpc/interceptors/access.ts";
import { rulesOf } from "#platform/rpc/rules.ts";
import { type LeanLink, leanLink } from "./lean-link.ts";
import { rankByKey, routeKey } from "./rendezvous.ts";
import { classifyFailure, type TransportFailure } from "./transport-failure.ts";

export interface RemoteOptions {
  readonly registry: Pick<Registry, "instances">;
  /** "auth", "server" … */
  readonly service: string;
  /** Sent along, so that internal methods can be called. */
  readonly meshSecret: string;
  readonly log: Log;
  readonly clock: Clock;
  /** Whether unary calls go over lean links: to services of ours that serve them. */
  readonly lean?: boolean;
}

/** A transport that holds connections. */
export interface RemoteTransport extends Transport {
  /** Ends all connections, and with them the calls in work. Idempotent. */
  close(): void;
}

/** One instance, and the connection to it. */
interface Link {
  readonly instanceId: string;
  readonly address: string;
  readonly transport: Transport;
  readonly sessions: Http2SessionManager;
  readonly lean: LeanLink | undefined;
  calls: number;
  /** The instance has left: the connection ends with its last call. */
  retired: boolean;
  /** When it could not be reached, or could not do its work, the last time. */
  failedAt: number;
  /** Not the first choice before this time. */
  avoidedUntil: number;
}

/** A call that was given to a link. */
interface Sent {
  readonly link: Link;
  readonly method: DescMethod;
  /** When, of a unary call: how long a stream lasted says nothing about its failure. */
  readonly sentAt?: number;
  readonly signal: AbortSignal | undefined;
}

/** Finds a dead peer behind an open connection. */
const keepAlive = { pingIntervalMs: 20_000, pingTimeoutMs: 5_000 };
const INITIAL_WINDOW_SIZE = 1024 * 1024;
const AVOID_MS = 1_000;
/** So many times as long as its failure took an instance is avoided that cannot do its work, */
const AVOID_TIMES = 10;
/** and so long at most. */
const AVOID_MOST_MS = 10_000;

/**
 * Calls the live instances of a service, over lean links or gRPC: by `routeKey` when the call has one, else in
 * turn. A call that could not be sent is tried on another instance; one whose connection broke is
 * tried once more only if the method is internal or idempotent. What then still fails is
 * UNAVAILABLE. Answers of the service, errors too, come as they are. An instance that fails so is the
 * last choice for a while, and so is one that answers an internal call with UNAVAILABLE, or not in
 * time: it may have lost its own way to the database. A unary call without a deadline
 * gets 10 s. A stream lasts as long as both sides want, is begun on another instance by the same
 * rules, and is UNAVAILABLE when its connection breaks: the caller begins anew.
 */
export function remoteTransport(options: RemoteOptions): RemoteTransport {
  const { registry, service, meshSecret, log, clock } = options;
  const links = new Map<string, Link>();
  let turn = 0;
  let closed = false;

  async function candidates(key: string | undefined): Promise<Link[]> {
    const instances = closed ? [] : await registry.instances(service);
    const present = instances.map(linkTo);
    for (const [address, link] of links) if (!present.includes(link)) retire(address, link);
    const now = clock.elapsed();
    const start = present.length === 0 ? 0 : turn++ % present.length;
    const order =
      key === undefined
        ? [...present.slice(start), ...present.slice(0, start)]
        : rankByKey(present, key);
    // A stable sort: who failed a moment ago comes last, the others keep their order. So do all
    // when all have failed.
    return order.sort((a, b) => Number(a.avoidedUntil > now) - Number(b.avoidedUntil > now));
  }

  function linkTo({ instanceId, address }: Instance): Link {
    const known = links.get(address);
    if (known !== undefined) return known;
    const sessions = new Http2SessionManager(address, keepAlive, {
      settings: { initialWindowSize: INITIAL_WINDOW_SIZE },
    });
    const transport = createGrpcTransport({
      baseUrl: address,
      sessionManager: sessions,
      // Within the mesh processor time is dearer than bytes.
      acceptCompression: [],
    });
    const link = {
      instanceId,
      address,
      transport,
      sessions,
      lean: options.lean ? leanLink({ address, meshSecret, clock }) : undefined,
      calls: 0,
      retired: false,
      failedAt: 0,
      avoidedUntil: 0,
    };
    links.set(address, link);
    return link;
  }

  function retire(address: string, link: Link): void {
    links.delete(address);
    link.retired = true;
    if (link.calls === 0) end(link);
  }

  function end({ sessions, lean }: Link): void {
    sessions.abort();
    lean?.close();
  }

  /** Keeps the connection until the call has ended: then the function is to be called. */
  function hold(link: Link): () => void {
    let held = true;
    link.calls++;
    return () => {
      if (!held) return;
      held = false;
      link.calls--;
      if (link.retired && link.calls === 0) end(link);
    };
  }

  /** How a call over a link failed; told unless it was answered, and remembered of the link. */
  function failed({ link, method, sentAt, signal }: Sent, error: unknown): TransportFailure {
    const failure = classifyFailure(error, signal);
    const now = clock.elapsed();
    if (failure === "answered") {
      if (isUnable(method, error) && !signal?.aborted) {
        const took = AVOID_TIMES * (now - (sentAt ?? now));
        avoid(link, Math.min(AVOID_MOST_MS, Math.max(AVOID_MS, took)));
      }
      return failure;
    }
    avoid(link, AVOID_MS);
    const event = failure === "unsent" ? "instance_not_reached" : "instance_lost";
    log.warn({ event, service, instance: link.instanceId, method: method.name, err: error });
    return failure;
  }

  function avoid(link: Link, forMs: number): void {
    link.failedAt = clock.elapsed();
    link.avoidedUntil = Math.max(link.avoidedUntil, link.failedAt + forMs);
  }

  function unavailable(cause?: unknown): ConnectError {
    return fail(ErrorReason.UNAVAILABLE, `${service} cannot be reached`, { cause });
  }

  return {
    async unary(method, signal, timeoutMs = DEFAULT_DEADLINE_MS, header, input, values) {
      const headers = new Headers(header);
      headers.set(MESH_HEADER, meshSecret);
      const order = await candidates(values?.get(routeKey));
      const startedAt = clock.elapsed();
      let cause: unknown;
      for (let at = 0, again = false; at < order.length; ) {
        const link = order[at]!;
        const sentAt = clock.elapsed();
        const left =
          timeoutMs > 0 ? Math.max(1, Math.ceil(timeoutMs - (sentAt - startedAt))) : timeoutMs;
        const release = hold(link);
        try {
          const transport = link.lean ?? link.transport;
          const unary = method as DescMethodUnary;
          const answer = await transport.unary(unary, signal, left, headers, input, values);
          // What was sent before it failed says nothing of how it is now.
          if (sentAt >= link.failedAt) link.avoidedUntil = 0;
          return answer as UnaryResponse<typeof method.input, typeof method.output>;
        } catch (error) {
          const failure = failed({ link, method, sentAt, signal }, error);
          if (failure === "answered") throw error;
          cause = error;
          if (failure === "unsent") at++;
          else if (again || !repeatable(method)) break;
          else {
            again = true;
            // Without another instance: the same one, by a new connection.
            if (at + 1 < order.length) at++;
          }
        } finally {
          release();
        }
      }
      throw unavailable(cause);
    },
    async stream(method, signal, timeoutMs, header, input, values) {
      if (method.methodKind !== "server_streaming") {
        throw fail(ErrorReason.METHOD_NOT_FOUND, `${method.name} takes a stream`);
      }
      const headers = new Headers(header);
      headers.set(MESH_HEADER, meshSecret);
      const requests: MessageInitShape<typeof method.input>[] = [];
      for await (const request of input) requests.push(request);
      let cause: unknown;
      for (const link of await candidates(values?.get(routeKey))) {
        const release = hold(link);
        const sent = { link, method, signal };
        try {
          const again = createAsyncIterable(requests);
          const { transport } = link;
          const answer = await transport.stream(method, signal, timeoutMs, headers, again, values);
          signal?.addEventListener("abort", release, { once: true });
          const ended = (error?: unknown) => {
            release();
            signal?.removeEventListener("abort", release);
            if (error === undefined || failed(sent, error) === "answered") return;
            throw unavailable(error);
          };
          return { ...answer, message: told(answer.message, ended) };
        } catch (error) {
          release();
          const failure = failed(sent, error);
          if (failure === "answered") throw error;
          cause = error;
          if (failure === "broken" && !repeatable(method)) break;
        }
      }
      throw unavailable(cause);
    },
    close() {
      closed = true;
      for (const [address, link] of links) {
        links.delete(address);
        link.retired = true;
        end(link);
      }
    },
  };
}

/** Calls a service at one known address, without a registry. */
export function fixedTransport(
  options: Omit<RemoteOptions, "registry"> & { readonly address: string },
): RemoteTransport {
  const { address, service } = options;
  const only = { instanceId: address, service, address, publicAddress: "", load: 0 };
  return remoteTransport({ ...options, registry: { instances: async () => [only] } });
}

/** The messages as they come; at their end, or when the caller stops, `ended` is told why. */
async function* told<T>(
  messages: AsyncIterable<T>,
  ended: (error?: unknown) => void,
): AsyncGenerator<T> {
  try {
    for await (const message of messages) yield message;
  } catch (error) {
    ended(error);
    throw error;
  } finally {
    ended();
  }
}

/** Whether an answer says that the instance cannot do its work. Of calls whose deadlines are ours. */
function isUnable(method: DescMethod, error: unknown): boolean {
  if (rulesOf(method).access !== Access.INTERNAL) return false;
  const { code } = ConnectError.from(error);
  return code === Code.Unavailable || code === Code.DeadlineExceeded;
}

/** Whether a call may be carried out twice without harm. */
function repeatable(method: DescMethod): boolean {
  if (rulesOf(method).access === Access.INTERNAL) return true;
  return method.idempotency !== Idempotency.IDEMPOTENCY_UNKNOWN;
}
