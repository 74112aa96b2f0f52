/**
 * Lua scripts: each is one atomic step in Redis. They use the clock of Redis, because the clocks of
 * instances may differ. The value of a key is a hash: `count`, the number of failures, and `until`,
 * the end of the delay in milliseconds since the Unix epoch.
 */

/**
 * Prefix of a budget's key; followed by the budget's name, points and window, and the caller's key.
 */
export const LIMITS = "lucky:limit:";

/** Prefix of a penalty's key; followed by the penalty's name and the caller's key. */
export const FAILURES = "lucky:failures:";

const CLOCK = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function waiting()
  return math.max(0, tonumber(redis.call('HGET', KEYS[1], 'until') or 0) - now)
end
`;

/**
 * ARGV free failures, first delay, longest delay, time until a reset; milliseconds, see
 * `waitAfter`.
 */
const START_DELAY = `${CLOCK}
local function startDelay(count)
  local further, wait = count - tonumber(ARGV[1]), 0
  if further >= 0 then
    wait = math.min(tonumber(ARGV[3]), tonumber(ARGV[2]) * 2 ^ math.min(further, 40))
  end
  redis.call('HSET', KEYS[1], 'count', count, 'until', string.format('%.0f', now + wait))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(tonumber(ARGV[4]), wait)))
  return wait
end
local count = tonumber(redis.call('HGET', KEYS[1], 'count') or 0)
`;

/** KEYS failures. Returns the remaining delay, milliseconds. */
const WAITING = `${CLOCK}
return waiting()
`;

/**
 * KEYS failures · ARGV as START_DELAY. Returns the remaining delay, and restarts it for the next
 * attempt.
 */
const ADMIT = `${START_DELAY}
local wait = waiting()
if wait == 0 and count >= tonumber(ARGV[1]) then startDelay(count) end
return wait
`;

/** KEYS failures · ARGV as START_DELAY. Counts a failure. Returns the new delay, milliseconds. */
const PENALIZE = `${START_DELAY}
return startDelay(count + 1)
`;

/** Option of ioredis, which defines a command of this name for each script. */
export const scripts = {
  luckyWaiting: { numberOfKeys: 1, lua: WAITING },
  luckyAdmit: { numberOfKeys: 1, lua: ADMIT },
  luckyPenalize: { numberOfKeys: 1, lua: PENALIZE },
};

type PenaltyArguments = [free: number, firstMs: number, longestMs: number, forgetMs: number];

/** Arguments and results of the commands. */
export interface ScriptCommands {
  luckyWaiting(failures: string): Promise<number>;
  luckyAdmit(failures: string, ...args: PenaltyArguments): Promise<number>;
  luckyPenalize(failures: string, ...args: PenaltyArguments): Promise<number>;
}
