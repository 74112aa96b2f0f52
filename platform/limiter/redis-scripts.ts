/**
 * What Redis does in one atomic step, by its own clock: the instances' may differ. A key's value is a
 * hash of `count`, its failures, and `until`, the milliseconds since the Unix epoch until which it
 * waits.
 */

/** Start of the key of a budget's points; its name, points and window and the key follow. */
export const LIMITS = "lucky:limit:";

/** Start of the key of a penalty's failures; the penalty's name and the key follow. */
export const FAILURES = "lucky:failures:";

const CLOCK = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function waiting()
  return math.max(0, tonumber(redis.call('HGET', KEYS[1], 'until') or 0) - now)
end
`;

/** ARGV free failures, first wait, longest wait, milliseconds to remember; see `waitAfter`. */
const begin = `${CLOCK}
local function begin(count)
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

/** KEYS failures. Returns the milliseconds to wait. */
const waiting = `${CLOCK}
return waiting()
`;

/** KEYS failures · ARGV as `begin`. Returns the milliseconds to wait; the next one waits anew. */
const admit = `${begin}
local wait = waiting()
if wait == 0 and count >= tonumber(ARGV[1]) then begin(count) end
return wait
`;

/** KEYS failures · ARGV as `begin`. Counts a failure. Returns the milliseconds to wait. */
const penalize = `${begin}
return begin(count + 1)
`;

/** For ioredis: each becomes a command of this name. */
export const scripts = {
  luckyWaiting: { numberOfKeys: 1, lua: waiting },
  luckyAdmit: { numberOfKeys: 1, lua: admit },
  luckyPenalize: { numberOfKeys: 1, lua: penalize },
};

type PenaltyArguments = [free: number, firstMs: number, longestMs: number, forgetMs: number];

/** What the commands take and answer. */
export interface ScriptCommands {
  luckyWaiting(failures: string): Promise<number>;
  luckyAdmit(failures: string, ...args: PenaltyArguments): Promise<number>;
  luckyPenalize(failures: string, ...args: PenaltyArguments): Promise<number>;
}
