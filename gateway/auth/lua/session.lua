-- The sessions of one user: everything about them in one hash, so that ending them all is one step.
--
-- KEYS[1]  <prefix>:sessions:{<appid>:<openid>}   hash:
--            key            the encrypted session key
--            uses           counts uses: it orders the sessions by their last one
--            <token hash>   "<end in seconds> <use> <unionid>"
-- ARGV[1]  create | lookup | revoke | revoke_user | key | replace_key
-- ARGV[2]  now, in seconds; the clock is the caller's
-- ARGV[3]  token hash; replace_key: the encrypted session key
-- ARGV[4]  create and lookup: the end, in seconds, of a session that is used now
-- ARGV[5]  create and lookup: milliseconds for which Redis keeps the hash from now on
-- ARGV[6]  create: sessions that a user may have; lookup: an end before this one is moved on
-- ARGV[7]  create: unionid
-- ARGV[8]  create: the encrypted session key; empty leaves the old one

local user, action, now, digest = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]

local function read(field)
  local value = redis.call('HGET', user, field)
  if not value then
    return nil
  end
  local expires, use, unionid = string.match(value, '^(%S+) (%d+) (.*)$')
  return {field = field, expires = expires, alive = tonumber(expires) > now, use = tonumber(use), unionid = unionid}
end

local function write(field, expires, unionid)
  local use = redis.call('HINCRBY', user, 'uses', 1)
  redis.call('HSET', user, field, string.format('%s %.0f %s', expires, use, unionid))
end

-- Live sessions, least recently used first; the others are removed.
local function sessions()
  local live = {}
  for _, field in ipairs(redis.call('HKEYS', user)) do
    if field ~= 'key' and field ~= 'uses' then
      local session = read(field)
      if session.alive then
        live[#live + 1] = session
      else
        redis.call('HDEL', user, field)
      end
    end
  end
  table.sort(live, function(a, b) return a.use < b.use end)
  return live
end

-- The session key goes with the last session.
local function forget_if_empty()
  if #sessions() == 0 then
    redis.call('DEL', user)
  end
end

if action == 'create' then
  local live = sessions()
  for index = 1, #live - tonumber(ARGV[6]) + 1 do
    redis.call('HDEL', user, live[index].field)
  end
  if #live == 0 then
    redis.call('DEL', user)
  end
  write(digest, ARGV[4], ARGV[7])
  if ARGV[8] ~= '' then
    redis.call('HSET', user, 'key', ARGV[8])
  end
  redis.call('PEXPIRE', user, ARGV[5])
  return 1
end

if action == 'lookup' then
  local session = read(digest)
  if not session or not session.alive then
    return false
  end
  if tonumber(session.expires) < tonumber(ARGV[6]) then
    session.expires = ARGV[4]
    redis.call('PEXPIRE', user, ARGV[5])
  end
  write(digest, session.expires, session.unionid)
  return {session.expires, session.unionid}
end

if action == 'revoke' then
  local session = read(digest)
  if not session then
    return false
  end
  redis.call('HDEL', user, digest)
  forget_if_empty()
  return session.alive and {session.expires, session.unionid}
end

if action == 'revoke_user' then
  local count = #sessions()
  redis.call('DEL', user)
  return count
end

if #sessions() == 0 then
  redis.call('DEL', user)
  return false
end
if action == 'replace_key' then
  redis.call('HSET', user, 'key', digest)
  return 1
end
return redis.call('HGET', user, 'key')
