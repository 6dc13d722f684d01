-- Publishes into one channel: history, position, repeats, versions and the message itself in one step.
--
-- KEYS[1]  <prefix>:meta:{<channel>}       hash: epoch, top, version, version_epoch
-- KEYS[2]  <prefix>:stream:{<channel>}     stream: the items, with the ids <offset>-0
-- KEYS[3]  <prefix>:result:{<channel>}:<idempotency key>      leave it out where there is no such key
-- ARGV[1]  <prefix>:broadcast:<channel>    where nodes listen (Redis Cluster: <prefix>:broadcast:{<channel>})
-- ARGV[2]  the publication, a JSON object: {"data": any JSON, "tags": {"name": "text"}}; tags may be left out
-- ARGV[3]  items to keep; 0: no history
-- ARGV[4]  milliseconds after which the items of an untouched channel go; 0: no history
-- The rest may be left out:
-- ARGV[5]  milliseconds for which the position outlives the last publication; 2592000000
-- ARGV[6]  version: what is not above the channel's version is dropped; 0: none
-- ARGV[7]  version epoch: another value starts the versions again
-- ARGV[8]  PUBLISH, or SPUBLISH in a Redis Cluster
--
-- Returns {offset, epoch, suppressed}: 0 and "" without history; suppressed is 1 for a repeat of an
-- idempotency key within five minutes, which has the first one's position, and for an old version.

local meta, stream, result = KEYS[1], KEYS[2], KEYS[3]
local name, publication = ARGV[1], ARGV[2]
local size, ttl = tonumber(ARGV[3]), tonumber(ARGV[4])
local meta_ttl = tonumber(ARGV[5]) or 2592000000
local version, version_epoch = ARGV[6] or '0', ARGV[7] or ''
local publish = ARGV[8] or 'PUBLISH'
local keeps = size > 0 and ttl > 0

if result then
  local earlier = redis.call('GET', result)
  if earlier then
    local colon = string.find(earlier, ':', 1, true)
    return {tonumber(string.sub(earlier, 1, colon - 1)), string.sub(earlier, colon + 1), 1}
  end
end

-- Versions have up to 64 bits, numbers of Lua 53: so they are compared as decimal text.
local function above(a, b)
  if #a ~= #b then
    return #a > #b
  end
  return a > b
end

local epoch = ''
if keeps or version ~= '0' then
  local known = redis.call('HMGET', meta, 'epoch', 'version', 'version_epoch', 'top')
  epoch = known[1]
  if not epoch then
    -- A new identity: the time it was born tells it from every earlier one. What is left of an old stream
    -- has positions that nobody can tell from the new ones, so it goes.
    local time = redis.call('TIME')
    epoch = string.format('%x%05x', time[1], time[2])
    redis.call('DEL', stream)
    redis.call('HSET', meta, 'epoch', epoch)
  end
  if version ~= '0' then
    local same_epoch = version_epoch == '' or version_epoch == (known[3] or '')
    if same_epoch and known[2] and not above(version, known[2]) then
      if keeps then
        return {tonumber(known[4] or '0'), epoch, 1}
      end
      return {0, '', 1}
    end
    redis.call('HSET', meta, 'version', version)
    if version_epoch ~= '' then
      redis.call('HSET', meta, 'version_epoch', version_epoch)
    end
  end
  redis.call('PEXPIRE', meta, string.format('%.0f', math.max(meta_ttl, ttl)))
end

local offset, position = 0, '0:'
if keeps then
  offset = redis.call('HINCRBY', meta, 'top', 1)
  local digits = string.format('%.0f', offset)
  redis.call('XADD', stream, 'MAXLEN', '=', ARGV[3], digits .. '-0', 'p', publication)
  redis.call('PEXPIRE', stream, ARGV[4])
  position = digits .. ':' .. epoch
end
if result then
  redis.call('SET', result, position, 'PX', 300000)
end
redis.call(publish, name, '!p:' .. position .. ':' .. publication)
return {offset, keeps and epoch or '', 0}
