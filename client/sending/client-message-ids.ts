/**
 * Generates client_message_ids: UUIDv7. They grow with time, the cheapest order for the database.
 * Within one generator every id is greater than the previous one, also within a millisecond and
 * when the clock steps back.
 */
export class ClientMessageIds {
  readonly #now: () => number;
  #lastMs = 0;
  #counter = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  next(): string {
    const nowMs = this.#now();
    if (nowMs > this.#lastMs) {
      this.#lastMs = nowMs;
      this.#counter = 0;
    } else if (++this.#counter > 0xfff) {
      this.#lastMs++;
      this.#counter = 0;
    }
    const random = crypto.getRandomValues(new Uint8Array(8));
    random[0] = (random[0]! & 0x3f) | 0x80;
    const time = hex(this.#lastMs, 12);
    const tail = Array.from(random, (byte) => hex(byte, 2)).join("");
    return [
      time.slice(0, 8),
      time.slice(8),
      `7${hex(this.#counter, 3)}`,
      tail.slice(0, 4),
      tail.slice(4),
    ].join("-");
  }
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}
