-- Reads the history of one channel. A channel that never was gets its epoch here, so that a position taken
-- now is valid later.
--
-- KEYS[1]  <prefix>:meta:{<channel>}
-- KEYS[2]  <prefix>:stream:{<channel>}
-- ARGV[1]  milliseconds for which the position is kept at least from now on
-- ARGV[2]  at most so many items; 0: the position only; below 0: all
-- ARGV[3]  only items after this offset (before it, if reverse); empty: from an end
-- ARGV[4]  1: newest first
--
-- Returns {top, epoch, items}; an item is {"<offset>-0", {"p", publication}}.

local meta, stream = KEYS[1], KEYS[2]
local limit, since, reverse = tonumber(ARGV[2]), ARGV[3], ARGV[4] == '1'

local known = redis.call('HMGET', meta, 'epoch', 'top')
local epoch, top = known[1], tonumber(known[2] or '0')
if not epoch then
  local time = redis.call('TIME')
  epoch = string.format('%x%05x', time[1], time[2])
  redis.call('DEL', stream)
  redis.call('HSET', meta, 'epoch', epoch)
end
if redis.call('PTTL', meta) < tonumber(ARGV[1]) then
  redis.call('PEXPIRE', meta, ARGV[1])
end

-- Nothing lies before offset 0, and Redis takes that range for a mistake.
if limit == 0 or (reverse and since == '0') then
  return {top, epoch, {}}
end
local command, from, to = 'XRANGE', '-', '+'
if reverse then
  command, from, to = 'XREVRANGE', '+', '-'
end
if since ~= '' then
  from = '(' .. since .. '-0'
end
if limit > 0 then
  return {top, epoch, redis.call(command, stream, from, to, 'COUNT', ARGV[2])}
end
return {top, epoch, redis.call(command, stream, from, to)}
