import { connect, type Socket } from "node:net";
import { Tally } from "./tally.ts";

/** Address of an attack. Honest users of the bench have others. */
const ATTACK_ADDRESS = "127.0.0.2";

export interface ConnectOptions {
  /** Source address; `ATTACK_ADDRESS` when absent. */
  readonly from?: string;
  /** Whether this side stays open when the server ends its side. */
  readonly allowHalfOpen?: boolean;
}

/** A server under attack on this machine, with all connections of the attack. */
export class Target {
  /** Address of the gateway: "http://127.0.0.1:port". */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly tally = new Tally();
  readonly #sockets = new Set<Socket>();
  #closing = false;

  /** Throws for an address outside of 127.0.0.0/8. */
  constructor(url: string) {
    const { hostname, port } = new URL(url);
    if (!/^127(\.\d+){3}$/.test(hostname)) throw new Error(`${hostname} is not on this machine`);
    this.url = url;
    this.host = hostname;
    this.port = Number(port);
  }

  /** Opens a TCP connection. The tally counts its bytes when it ends. */
  connect({ from = ATTACK_ADDRESS, allowHalfOpen = false }: ConnectOptions = {}): Socket {
    const { host, port, tally } = this;
    const socket = connect({ host, port, localAddress: from, noDelay: true, allowHalfOpen });
    this.#sockets.add(socket);
    let connected = false;
    socket.once("connect", () => {
      connected = true;
      tally.add("connections");
      tally.most("most_open", this.#sockets.size);
    });
    socket.on("error", (error) => tally.failed(error));
    socket.once("close", () => {
      this.#sockets.delete(socket);
      tally.add("bytes_sent", socket.bytesWritten);
      tally.add("bytes_received", socket.bytesRead);
      if (this.#closing && connected) tally.add("open_at_end");
    });
    if (this.#closing) socket.destroy();
    return socket;
  }

  /** Cuts all connections, and those that the attack still opens. Resolves when they are closed. */
  async close(): Promise<void> {
    this.#closing = true;
    const closed = [...this.#sockets].map(
      (socket) => new Promise((resolve) => socket.once("close", resolve)),
    );
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closed);
  }
}
