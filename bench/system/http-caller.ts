import { connect, type Socket } from "node:net";

const END_OF_HEAD = Buffer.from("\r\n\r\n");
const END_OF_CHUNKS = Buffer.from("0\r\n\r\n");
const ANSWER_TIMEOUT_MS = 30_000;

export interface Call {
  /** "http://host:port" */
  readonly url: string;
  /** "package.Service/Method" */
  readonly method: string;
  readonly token: string;
  /** The encoded request. */
  readonly request: Uint8Array;
}

/**
 * Repeats one unary call (Connect protocol, HTTP/1.1) over a persistent connection. It encodes the
 * request once, and reads only the status and the end of each answer.
 */
export class HttpCaller {
  readonly #socket: Socket;
  readonly #bytes: Buffer;
  #answer: Buffer = Buffer.alloc(0);
  #waiting: { resolve: () => void; reject: (error: Error) => void } | undefined;

  constructor({ url, method, token, request }: Call) {
    const { hostname, port } = new URL(url);
    const head = [
      `POST /${method} HTTP/1.1`,
      `Host: ${hostname}:${port}`,
      "Content-Type: application/proto",
      "Connect-Protocol-Version: 1",
      `Authorization: Bearer ${token}`,
      `Content-Length: ${request.length}`,
    ];
    this.#bytes = Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`), request]);
    this.#socket = connect({ host: hostname, port: Number(port), noDelay: true });
    this.#socket.setTimeout(ANSWER_TIMEOUT_MS, () => {
      this.#socket.destroy(new Error(`no answer within ${ANSWER_TIMEOUT_MS / 1_000} s`));
    });
    this.#socket.on("data", (chunk) => this.#take(chunk));
    this.#socket.on("error", (error) => this.#waiting?.reject(error));
    this.#socket.on("close", () => this.#waiting?.reject(new Error("the connection was closed")));
  }

  /** Makes the call once. Rejects for a status other than 200, and after a time-out. */
  call(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#socket.write(this.#bytes, (error) => {
        if (error) reject(error);
      });
    });
  }

  close(): void {
    this.#waiting = undefined;
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#answer = this.#answer.length === 0 ? chunk : Buffer.concat([this.#answer, chunk]);
    const end = this.#answer.indexOf(END_OF_HEAD);
    if (end < 0) return;
    const head = this.#answer.toString("latin1", 0, end);
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    const whole =
      length === undefined
        ? this.#answer.subarray(-END_OF_CHUNKS.length).equals(END_OF_CHUNKS)
        : this.#answer.length >= end + END_OF_HEAD.length + Number(length);
    if (!whole) return;
    this.#answer = Buffer.alloc(0);
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (head.startsWith("HTTP/1.1 200")) waiting?.resolve();
    else waiting?.reject(new Error(head.slice(0, head.indexOf("\r\n"))));
  }
}
