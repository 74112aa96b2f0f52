import { Redis } from "ioredis";
import { GENERATION, LOSS, type ScriptCommands, scripts } from "./redis-scripts.ts";

/** A connection of an operator and of the registry's own scripts. */
export function openOperator(url: string): Redis & ScriptCommands {
  const redis = new Redis(url, { scripts }) as Redis & ScriptCommands;
  // The connection breaks when the server stops.
  redis.on("error", () => {});
  return redis;
}

/** Empties Redis, and dates its last loss of data back by a day: a new process trusts it at once. */
export async function emptyRedis(redis: Redis & ScriptCommands): Promise<void> {
  await redis.flushall();
  const info = await redis.info();
  const field = (name: string) => new RegExp(`^${name}:(\\S+)`, "m").exec(info)![1]!;
  const evictedKeys = Number(field("evicted_keys"));
  await redis.luckyCheck(GENERATION, LOSS, "of-test", field("run_id"), evictedKeys);
  await redis.hincrby(LOSS, "lostAtMs", -86_400_000);
}
