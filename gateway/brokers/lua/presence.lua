-- Who is in one channel. An entry ages out when it was not refreshed for the TTL; whoever looks next, removes it.
--
-- KEYS[1]  <prefix>:presence:{<channel>}           hash: client -> info, a zero byte, user
-- KEYS[2]  <prefix>:presence_expiry:{<channel>}    sorted set: client by the millisecond of its end
-- KEYS[3]  <prefix>:presence_users:{<channel>}     hash: user -> number of its clients
-- ARGV[1]  add | remove | get | stats
-- ARGV[2]  add: milliseconds that an entry lives
-- ARGV[3]  add and remove: client
-- ARGV[4]  add: user
-- ARGV[5]  add: info, JSON
--
-- get returns client, value, client, value, …; stats returns {clients, users}.

local entries, expiry, users = KEYS[1], KEYS[2], KEYS[3]
local action = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function drop(client)
  local entry = redis.call('HGET', entries, client)
  redis.call('ZREM', expiry, client)
  if not entry then
    return
  end
  redis.call('HDEL', entries, client)
  local user = string.sub(entry, string.find(entry, '\0', 1, true) + 1)
  if redis.call('HINCRBY', users, user, -1) <= 0 then
    redis.call('HDEL', users, user)
  end
end

-- At most so many at once: when a node with many clients died, the server is not held up by one call.
local function age_out(limit)
  local old = redis.call('ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, limit)
  for _, client in ipairs(old) do
    drop(client)
  end
  return #old
end

if action == 'add' then
  local ttl, client, user, info = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
  age_out(100)
  local value = info .. '\0' .. user
  local earlier = redis.call('HGET', entries, client)
  if earlier ~= value then
    if earlier then
      drop(client)
    end
    redis.call('HINCRBY', users, user, 1)
    redis.call('HSET', entries, client, value)
  end
  redis.call('ZADD', expiry, now + ttl, client)
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, ttl)
  end
  return 1
end

if action == 'remove' then
  drop(ARGV[3])
  return 1
end

if action == 'stats' then
  age_out(1000)
  return {redis.call('ZCOUNT', expiry, '(' .. string.format('%.0f', now), '+inf'), redis.call('HLEN', users)}
end

while age_out(1000) == 1000 do end
return redis.call('HGETALL', entries)
