import { connect, type Socket } from "node:net";

const END_OF_HEAD = Buffer.from("\r\n\r\n");
const END_OF_CHUNKS = Buffer.from("0\r\n\r\n");
const ANSWER_TIMEOUT_MS = 30_000;

export interface Call {
  /** "http://host:port" */
  readonly url: string;
  /** "package.Service/Method" */
  readonly method: string;
  /** Access token; none when absent. */
  readonly token?: string;
  /** The encoded request. */
  readonly request: Uint8Array;
  /** Additional headers. */
  readonly headers?: Readonly<Record<string, string>>;
  /** A connection to use; a new one when absent. */
  readonly socket?: Socket;
}

export interface Answer {
  readonly status: number;
  /** The body, with the lengths of its chunks if it has any. */
  readonly body: Buffer;
  /** Whether the server closes the connection after this answer. */
  readonly last: boolean;
}

/**
 * Repeats one unary call (Connect protocol, HTTP/1.1) over a persistent connection. It encodes the
 * request once, and parses only the status and the end of each answer.
 */
export class HttpCaller {
  readonly #socket: Socket;
  readonly #bytes: Buffer;
  #answer: Buffer = Buffer.alloc(0);
  #waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined;

  constructor({ url, method, token, request, headers = {}, socket }: Call) {
    const { hostname, port } = new URL(url);
    const head = [
      `POST /${method} HTTP/1.1`,
      `Host: ${hostname}:${port}`,
      "Content-Type: application/proto",
      "Connect-Protocol-Version: 1",
      `Content-Length: ${request.length}`,
      ...(token === undefined ? [] : [`Authorization: Bearer ${token}`]),
      ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ];
    this.#bytes = Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`), request]);
    this.#socket = socket ?? connect({ host: hostname, port: Number(port), noDelay: true });
    this.#socket.setTimeout(ANSWER_TIMEOUT_MS, () => {
      this.#socket.destroy(new Error(`no answer within ${ANSWER_TIMEOUT_MS / 1_000} s`));
    });
    this.#socket.on("data", (chunk) => this.#take(chunk));
    this.#socket.on("error", (error) => this.#waiting?.reject(error));
    this.#socket.on("close", () => this.#waiting?.reject(new Error("the connection was closed")));
  }

  /** Makes the call once. Rejects for a status other than 200, and after a time-out. */
  async call(): Promise<void> {
    const { status } = await this.exchange();
    if (status !== 200) throw new Error(`the answer has status ${status}`);
  }

  /** Makes the call once. Rejects after a time-out. */
  exchange(): Promise<Answer> {
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
    const body = this.#answer.subarray(end + END_OF_HEAD.length);
    this.#answer = Buffer.alloc(0);
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve({
      status: Number(head.slice("HTTP/1.1 ".length, "HTTP/1.1 200".length)),
      body,
      last: /\r\nconnection: *close/i.test(head),
    });
  }
}
