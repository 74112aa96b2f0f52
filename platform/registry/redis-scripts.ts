/**
 * Lua scripts: each is one atomic step in Redis. The scripts compute keys of instances, so all keys
 * must be stored on one Redis node (or in one hash slot).
 */

/** Prefix of an instance's key; its id follows. The value is JSON, see ENTER. */
export const INSTANCE = "lucky:instance:";
/** Prefix of the key of a service's set of instance ids; the service follows. */
export const SERVICE = "lucky:instances:";
/** Prefix of a channel's key, a set of "instanceId epoch"; the channel follows. */
export const CHANNEL = "lucky:channel:";
/** Prefix of the key of a user's claims, a hash by session id; the user id follows. */
export const CLAIMS = "lucky:claims:";
/** Key of the generation of the data: a random id that is lost together with the data. */
export const GENERATION = "lucky:generation";
/** Key of a hash: the identity of the data at the last check, and the time of their last loss. */
export const LOSS = "lucky:loss";

/** Keys per command: a command with more keys blocks other clients of Redis for too long. */
const KEYS_PER_COMMAND = 1_000;

/** Keys of channels, in batches of KEYS_PER_COMMAND. */
export function keysOf(channels: readonly string[]): string[][] {
  const keys = channels.map((channel) => CHANNEL + channel);
  const batches = Math.ceil(keys.length / KEYS_PER_COMMAND);
  return Array.from({ length: batches }, (_, i) =>
    keys.slice(i * KEYS_PER_COMMAND, (i + 1) * KEYS_PER_COMMAND),
  );
}

const EPOCH_OF = `
local function epochOf(value)
  return value and cjson.decode(value).epoch or ''
end
`;

/**
 * KEYS instance, service · ARGV id, epoch held ('' for none), epoch to enter under, JSON with the
 * held epoch, JSON with the new one, lease in ms.
 * Renews under the held epoch. Enters under the new one when there is no entry, or when an earlier
 * attempt did so but its response was lost.
 * Returns "kept", "entered", or the remaining milliseconds of the lease of another process.
 */
const ENTER = `${EPOCH_OF}
local value = redis.call('GET', KEYS[1])
local epoch = epochOf(value)
local kept = value and epoch == ARGV[2]
if value and not kept and epoch ~= ARGV[3] then return redis.call('PTTL', KEYS[1]) end
redis.call('SET', KEYS[1], kept and ARGV[4] or ARGV[5], 'PX', ARGV[6])
redis.call('SADD', KEYS[2], ARGV[1])
return kept and 'kept' or 'entered'
`;

/** KEYS instance, service · ARGV id, epoch. Deletes the entry if it still has this epoch. */
const RELEASE = `${EPOCH_OF}
if epochOf(redis.call('GET', KEYS[1])) ~= ARGV[2] then return end
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[2], ARGV[1])
`;

/** KEYS service. Returns the JSON of its live instances and removes the ids of others. */
const LIST = `
local found = {}
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local value = redis.call('GET', '${INSTANCE}' .. id)
  if value then found[#found + 1] = value else redis.call('SREM', KEYS[1], id) end
end
return found
`;

/**
 * KEYS claims of the user · ARGV session id, claim as JSON, epoch, limit, "replace" or "refuse",
 * order ('' for a new claim), expiry in seconds. A field's value is "order epoch claim". Orders
 * ascend with time, also after a flush. Returns the order of the claim, "refused" or "kept", then
 * the claims that lost their slot, the oldest first, as JSON.
 */
const CLAIM = `${EPOCH_OF}
local held, newest, epochs = {}, 0, {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local order, epoch, json = string.match(fields[i + 1], '^(%d+) (%S+) (.*)$')
  local claim = cjson.decode(json)
  local id = claim.instanceId
  if not epochs[id] then epochs[id] = epochOf(redis.call('GET', '${INSTANCE}' .. id)) end
  if epochs[id] ~= epoch then
    redis.call('HDEL', KEYS[1], fields[i])
  else
    newest = math.max(newest, tonumber(order))
    held[#held + 1] = { session = fields[i], order = tonumber(order), json = json,
      class = claim.deviceClass, device = claim.deviceId }
  end
end

local decoded = cjson.decode(ARGV[2])
local limit, refusing = tonumber(ARGV[4]), ARGV[5] == 'refuse'
local mine = { session = ARGV[1], order = tonumber(ARGV[6]), json = ARGV[2],
  class = decoded.deviceClass, device = decoded.deviceId }
local all = { mine }
for _, other in ipairs(held) do
  if other.session == mine.session then
    if not mine.order then mine.order = other.order end
  elseif other.class == mine.class then all[#all + 1] = other end
end
if not mine.order then
  local time = redis.call('TIME')
  mine.order = math.max(newest + 1, time[1] * 1000000 + time[2])
end
local order = string.format('%.0f', mine.order)

table.sort(all, function(a, b) return a.order > b.order end)
local seen, devices = {}, {}
for _, one in ipairs(all) do
  if seen[one.device] then one.lost = true
  else
    seen[one.device] = true
    devices[#devices + 1] = one
  end
end
local at
for i, one in ipairs(devices) do if one == mine then at = i end end
if refusing then
  -- devices are sorted newest first: those after mine are older.
  if at and #devices - at >= limit then return { order, 'refused' } end
  if at then
    for i = 1, at - 1 do devices[i].lost = #devices - i >= limit end
  end
else
  for i = limit + 1, #devices do devices[i].lost = true end
end

redis.call('HSET', KEYS[1], mine.session, order .. ' ' .. ARGV[3] .. ' ' .. mine.json)
redis.call('EXPIRE', KEYS[1], ARGV[7])
local displaced = { order, 'kept' }
for _, one in ipairs(all) do
  if one.lost then
    redis.call('HDEL', KEYS[1], one.session)
    table.insert(displaced, 3, one.json)
  end
end
return displaced
`;

/** KEYS channels · ARGV "SADD" or "SREM", member. */
const MARK = `
for _, channel in ipairs(KEYS) do redis.call(ARGV[1], channel, ARGV[2]) end
`;

/** KEYS channels. Returns the generation ('' for none), then the members of each channel. */
const HEARING = `
local found = { redis.call('GET', '${GENERATION}') or '' }
for i, channel in ipairs(KEYS) do found[i + 1] = redis.call('SMEMBERS', channel) end
return found
`;

/**
 * KEYS generation, loss · ARGV a new generation, run id of the server ('' when unknown), number of
 * evicted keys. The data were lost when one of the three differs from the last check of any process.
 * Returns the generation, the new one when there is none, and the milliseconds since the last loss.
 * It writes, so that it fails when Redis refuses writes, also for lack of memory.
 */
const CHECK = `
local generation = redis.call('GET', KEYS[1]) or ARGV[1]
redis.call('SET', KEYS[1], generation)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[2], 'generation', 'runId', 'evictedKeys', 'lostAtMs')
local runId, evictedKeys = ARGV[2], ARGV[3]
if runId == '' then runId, evictedKeys = known[2] or '', known[3] or '0' end
if known[4] and known[1] == generation and known[2] == runId and known[3] == evictedKeys then
  return { generation, now - known[4] }
end
redis.call('HSET', KEYS[2], 'generation', generation, 'runId', runId, 'evictedKeys', evictedKeys,
  'lostAtMs', string.format('%.0f', now))
return { generation, 0 }
`;

/** Option of ioredis, which defines a command of this name for each script. */
export const scripts = {
  luckyEnter: { numberOfKeys: 2, lua: ENTER },
  luckyRelease: { numberOfKeys: 2, lua: RELEASE },
  luckyList: { numberOfKeys: 1, lua: LIST },
  luckyClaim: { numberOfKeys: 1, lua: CLAIM },
  // Every call passes the number of its keys.
  luckyMark: { lua: MARK },
  luckyHearing: { lua: HEARING },
  luckyCheck: { numberOfKeys: 2, lua: CHECK },
};

/** Arguments and results of the commands. */
export interface ScriptCommands {
  luckyEnter(
    instanceKey: string,
    serviceKey: string,
    ...args: [
      id: string,
      held: string,
      next: string,
      heldJson: string,
      nextJson: string,
      ms: number,
    ]
  ): Promise<"kept" | "entered" | number>;
  luckyRelease(instance: string, service: string, id: string, epoch: string): Promise<null>;
  luckyList(service: string): Promise<string[]>;
  luckyClaim(
    claims: string,
    ...args: [
      sessionId: string,
      claim: string,
      epoch: string,
      limit: number,
      excess: "replace" | "refuse",
      order: string,
      keepSeconds: number,
    ]
  ): Promise<[order: string, outcome: "refused" | "kept", ...displaced: string[]]>;
  luckyMark(
    keys: number,
    ...args: [...channels: string[], command: "SADD" | "SREM", member: string]
  ): Promise<null>;
  luckyHearing(
    keys: number,
    ...channels: string[]
  ): Promise<[generation: string, ...members: string[][]]>;
  luckyCheck(
    generationKey: string,
    lossKey: string,
    ...args: [next: string, runId: string, evictedKeys: number]
  ): Promise<[generation: string, sinceLossMs: number]>;
}
