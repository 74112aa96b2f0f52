/** The bound that a body was evicted for. */
export type Bound = "connection" | "process";

export interface BodyMemoryOptions {
  /** Maximum bytes held for one connection. */
  readonly connectionBytes: number;
  /** Maximum bytes held for all connections. */
  readonly processBytes: number;
  /** Called with the bytes held for all connections after each change. */
  readonly changed: (bytes: number) => void;
}

/** A request body that has not arrived whole. */
export interface HeldBody {
  /** Sets the bytes that are held for the body. Other bodies, or this one, may be evicted. */
  hold(bytes: number): void;
  /** The body holds nothing any more. Idempotent. */
  release(): void;
}

interface Body {
  bytes: number;
  readonly release: () => void;
  readonly evicted: (bound: Bound) => void;
}

interface Connection {
  bytes: number;
  readonly bodies: Set<Body>;
}

/**
 * Accounts for the memory of request bodies that have not arrived whole, and bounds it. A connection
 * beyond its bound loses its largest body. Beyond the bound of the process, the connection that
 * holds most loses its largest body, so a client with small requests is not affected.
 */
export class BodyMemory {
  readonly #options: BodyMemoryOptions;
  /** Connections with at least one body. */
  readonly #connections = new Map<object, Connection>();
  #bytes = 0;

  constructor(options: BodyMemoryOptions) {
    this.#options = options;
  }

  /** Accounts for one more body. `evicted` is called at most once, after its bytes were released. */
  open(key: object, evicted: (bound: Bound) => void): HeldBody {
    const connection = this.#connections.get(key) ?? { bytes: 0, bodies: new Set() };
    this.#connections.set(key, connection);
    const release = () => {
      if (!connection.bodies.delete(body)) return;
      this.#add(connection, body, -body.bytes);
      if (connection.bodies.size === 0) this.#connections.delete(key);
    };
    const body: Body = { bytes: 0, release, evicted };
    connection.bodies.add(body);
    return {
      hold: (bytes) => {
        if (!connection.bodies.has(body)) return;
        this.#add(connection, body, bytes - body.bytes);
        this.#evictBeyondBounds(connection);
      },
      release,
    };
  }

  #add(connection: Connection, body: Body, bytes: number): void {
    body.bytes += bytes;
    connection.bytes += bytes;
    this.#bytes += bytes;
    this.#options.changed(this.#bytes);
  }

  #evictBeyondBounds(connection: Connection): void {
    const { connectionBytes, processBytes } = this.#options;
    while (connection.bytes > connectionBytes) this.#evictFrom(connection, "connection");
    while (this.#bytes > processBytes) {
      this.#evictFrom(largest(this.#connections.values()), "process");
    }
  }

  #evictFrom(connection: Connection, bound: Bound): void {
    const body = largest(connection.bodies);
    body.release();
    body.evicted(bound);
  }
}

/** The member with the most bytes. There must be one. */
function largest<T extends { readonly bytes: number }>(members: Iterable<T>): T {
  let found: T | undefined;
  for (const member of members) {
    if (found === undefined || member.bytes > found.bytes) found = member;
  }
  return found as T;
}
