/**
 * A common simple design: Socket.IO with its Redis adapter, and one INSERT for each message. The server
 * answers a message after its INSERT, and forwards it through the adapter. It does not authenticate.
 * Arguments: port, address of PostgreSQL, address of Redis. It notifies its parent process when it listens.
 */
import { createServer } from "node:http";
import { Redis } from "ioredis";
import pg from "pg";

/**
 * The part of a Socket.IO socket that this file uses. The packages are installed only for the comparison, so
 * their types are not imported.
 */
interface Socket {
  readonly handshake: { readonly auth: { readonly token?: string } };
  join(room: string): void;
  on(event: "send", take: (key: string, to: string, text: string) => void): void;
  emit(event: string, ...values: unknown[]): void;
}

interface Server {
  on(event: "connection", take: (socket: Socket) => void): void;
  to(room: string): { emit(event: string, ...values: unknown[]): void };
}

interface Packages {
  readonly Server: new (http: unknown, options: object) => Server;
  readonly createAdapter: (publisher: Redis, subscriber: Redis) => unknown;
}

/** Imports the packages by computed names: they are installed only where they are compared. */
async function load(): Promise<Packages> {
  const [server, adapter] = ["socket.io", "@socket.io/redis-adapter"];
  return { ...(await import(server!)), ...(await import(adapter!)) } as Packages;
}

const [port = "", postgresUrl = "", redisUrl = ""] = process.argv.slice(2);
const { Server, createAdapter } = await load();
const pool = new pg.Pool({ connectionString: postgresUrl, max: 10 });
await pool.query(`
  CREATE TABLE message (
    message_id bigserial PRIMARY KEY,
    sender_id bigint NOT NULL,
    receiver_id bigint NOT NULL,
    client_message_id text NOT NULL,
    body text NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (sender_id, client_message_id)
  )`);

const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  adapter: createAdapter(new Redis(redisUrl), new Redis(redisUrl)),
});
io.on("connection", (socket) => {
  const { token: user = "" } = socket.handshake.auth;
  socket.join(user);
  socket.on("send", async (key, to, text) => {
    const { rows } = await pool.query({
      name: "insert",
      text: `INSERT INTO message (sender_id, receiver_id, client_message_id, body)
             VALUES ($1, $2, $3, $4) RETURNING message_id`,
      values: [user, to, key, text],
    });
    io.to(to).emit("message", key, Number(rows[0].message_id), user, text);
    socket.emit("accepted", key);
  });
});
http.listen(Number(port), "127.0.0.1", () => process.send?.("ready"));
process.on("disconnect", () => process.exit());
