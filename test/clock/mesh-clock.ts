import { createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { Redis } from "ioredis";
import { FAILURES, LIMITS } from "#platform/limiter/redis-scripts.ts";
import { OffsetClock } from "./offset-clock.ts";

/** One clock for a test and all processes of its mesh, including those that start later. */
export interface MeshClock {
  /** The clock of the test's own process. */
  readonly clock: OffsetClock;
  /** Command-line arguments of Node that make a process use this clock. */
  readonly nodeArguments: readonly string[];
  /** Moves all clocks. Resolves when every process has fired the timers that became due. */
  advance(ms: number): Promise<void>;
  /** Steps the time of day of all clocks. Resolves when every process has it. */
  step(ms: number): Promise<void>;
  close(): Promise<void>;
}

/**
 * Starts the clock. Each process connects at its start and gets the time before it does anything.
 */
export async function startMeshClock(): Promise<MeshClock> {
  const clock = new OffsetClock();
  /** By process: the callbacks of moves that it has not acknowledged yet, by the line sent. */
  const processes = new Map<Socket, Map<string, () => void>>();
  const server = createServer({ noDelay: true }, (socket) => {
    const unacknowledged = new Map<string, () => void>();
    processes.set(socket, unacknowledged);
    createInterface({ input: socket }).on("line", (line) => unacknowledged.get(line)?.());
    socket.on("error", () => socket.destroy());
    socket.once("close", () => {
      processes.delete(socket);
      for (const done of unacknowledged.values()) done();
    });
    socket.write(`${lineOf(clock)}\n`);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const preload = pathToFileURL(`${import.meta.dirname}/offset-clock-preload.ts`);
  const { port } = server.address() as { port: number };
  preload.searchParams.set("port", String(port));

  /** Sends the time to all processes. Resolves when each has it. */
  async function publish(): Promise<void> {
    const line = lineOf(clock);
    const acknowledged = [...processes].map(
      ([socket, unacknowledged]) =>
        new Promise<void>((resolve) => {
          unacknowledged.set(line, () => {
            unacknowledged.delete(line);
            resolve();
          });
          socket.write(`${line}\n`);
        }),
    );
    await Promise.all(acknowledged);
  }

  return {
    clock,
    nodeArguments: ["--import", preload.href],
    advance(ms) {
      clock.advance(ms);
      return publish();
    },
    step(ms) {
      clock.step(ms);
      return publish();
    },
    async close() {
      for (const socket of processes.keys()) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Offsets of a process's clock: the total of all moves, and of all steps, ms. */
const lineOf = ({ offsetMs, steppedMs }: OffsetClock) => `${offsetMs} ${steppedMs}`;

/**
 * KEYS none · ARGV milliseconds, patterns of keys. Lets each key expire that much earlier, and moves
 * the end of each wait (field `until` of a hash) back by as much.
 */
const AGE_SCRIPT = `
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
        -- A time to live of zero or less deletes the key.
        redis.call('PEXPIRE', key, string.format('%.0f', left - ARGV[1]))
      end
    end
  until cursor == '0'
end
`;

/**
 * Makes the limiter's counters in Redis older by `ms`. The limiter uses Redis' own clock, which no
 * test can move: its budgets are keys that expire, its waits are times that Redis compares with its
 * own time.
 */
export async function ageLimits(redisUrl: string, ms: number): Promise<void> {
  const redis = new Redis(redisUrl);
  try {
    await redis.eval(AGE_SCRIPT, 0, ms, `${LIMITS}*`, `${FAILURES}*`);
  } finally {
    redis.disconnect();
  }
}
