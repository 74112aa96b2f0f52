import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { HistoryEvent } from "./events.ts";

/** The history of one run: what all clients did and observed. */
export class History {
  readonly events: HistoryEvent[] = [];
  #ops = 0;

  add(event: HistoryEvent): void {
    this.events.push(event);
  }

  /** A new operation number. */
  nextOp(): number {
    return ++this.#ops;
  }

  /** Writes the history as JSON lines. */
  save(path: string): void {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, this.events.map((event) => `${JSON.stringify(event)}\n`).join(""));
  }
}

/** Hash of a message's content, as histories have it. */
export function contentHash(content: string): string {
  return createHash("sha256").update(content).digest("hex").slice(0, 16);
}
