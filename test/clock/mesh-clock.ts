import { createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { Redis } from "ioredis";
import { FAILURES, LIMITS } from "#platform/limiter/redis-scripts.ts";
import { MovedClock } from "./offset-clock.ts";

/** One clock for a test and all processes of its mesh, those included that start later. */
export interface MeshClock {
  /** The test's own. */
  readonly clock: MovedClock;
  /** What Node is started with, so that a process takes part. */
  readonly nodeArguments: readonly string[];
  /** Moves all; resolves when every process has rung what came due. */
  advance(ms: number): Promise<void>;
  close(): Promise<void>;
}

/** Starts it; processes call it up as soon as they begin, and have the time before they do anything. */
export async function startMeshClock(): Promise<MeshClock> {
  const clock = new MovedClock();
  /** What each process has not said back yet. */
  const waiting = new Map<Socket, Map<string, () => void>>();
  const server = createServer({ noDelay: true }, (socket) => {
    const told = new Map<string, () => void>();
    waiting.set(socket, told);
    createInterface({ input: socket }).on("line", (line) => told.get(line)?.());
    socket.on("error", () => socket.destroy());
    socket.once("close", () => {
      waiting.delete(socket);
      for (const done of told.values()) done();
    });
    socket.write(`${clock.movedMs}\n`);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const preload = pathToFileURL(`${import.meta.dirname}/offset-clock-preload.ts`);
  const { port } = server.address() as { port: number };
  preload.searchParams.set("port", String(port));

  return {
    clock,
    nodeArguments: ["--import", preload.href],
    async advance(ms) {
      clock.advance(ms);
      const line = String(clock.movedMs);
      const taken = [...waiting].map(
        ([socket, told]) =>
          new Promise<void>((resolve) => {
            told.set(line, () => {
              told.delete(line);
              resolve();
            });
            socket.write(`${line}\n`);
          }),
      );
      await Promise.all(taken);
    },
    async close() {
      for (const socket of waiting.keys()) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/**
 * KEYS none · ARGV milliseconds, patterns of keys. What expires does so that much earlier, and who
 * waits until some time waits that much shorter.
 */
const AGE = `
for n = 2, #ARGV do
  local cursor = '0'
  repeat
    local found = redis.call('SCAN', cursor, 'MATCH', ARGV[n], 'COUNT', 1000)
    cursor = found[1]
    for _, key in ipairs(found[2]) do
      local left = redis.call('PTTL', key)
      if left >= 0 then
        if redis.call('TYPE', key).ok == 'hash' then
          redis.call('HINCRBY', key, 'until', '-' .. ARGV[1])
        end
        -- What is over is deleted by that.
        redis.call('PEXPIRE', key, string.format('%.0f', left - ARGV[1]))
      end
    end
  until cursor == '0'
end
`;

/**
 * Makes what the limiter has counted older. It goes by Redis' own clock, which no test can move:
 * budgets are keys that expire, waits are times that Redis compares with its own.
 */
export async function ageLimits(redisUrl: string, ms: number): Promise<void> {
  const redis = new Redis(redisUrl);
  try {
    await redis.eval(AGE, 0, ms, `${LIMITS}*`, `${FAILURES}*`);
  } finally {
    redis.disconnect();
  }
}
