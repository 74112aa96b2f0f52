import { Writable } from "node:stream";
import { createLog, type Log } from "./log.ts";

/** A log that keeps its lines. */
export function keptLog(level = "info"): { log: Log; lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const stream = new Writable({
    write(line, _encoding, done) {
      lines.push(JSON.parse(String(line)));
      done();
    },
  });
  return { lines, log: createLog({ service: "test", instanceId: "test-0", level, stream }) };
}
