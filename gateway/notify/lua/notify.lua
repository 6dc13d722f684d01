-- Notifications that wait for their time, of all users: when each is due, and what is to be sent.
--
-- KEYS[1]  <prefix>:notify_due:{notify}    sorted set: id, by the millisecond at which somebody has to look
-- KEYS[2]  <prefix>:notify_jobs:{notify}   hash: id -> what to send
--          count, counts, stop and stopped have one key of their own:
--          <prefix>:notify_counts:{notify}:<day>    hash: what happened -> how often
--          <prefix>:notify_stop:{notify}:<appid>    string: the app's quota is used up
-- ARGV[1]  schedule | take | move | drop | waiting | count | counts | stop | stopped
-- ARGV[2]  schedule: id, millisecond, job, jobs that may wait. Returns 1, 0 where it is known, -1 where it is full.
--          take: now, milliseconds until another node may take them, how many. Returns ids and jobs.
--          move: id, millisecond. drop: ids… count: milliseconds kept, then name, number… stop: milliseconds.

local due, jobs, action = KEYS[1], KEYS[2], ARGV[1]

if action == 'schedule' then
  if redis.call('HEXISTS', jobs, ARGV[2]) == 1 then
    return 0
  end
  if redis.call('HLEN', jobs) >= tonumber(ARGV[5]) then
    return -1
  end
  redis.call('HSET', jobs, ARGV[2], ARGV[4])
  redis.call('ZADD', due, ARGV[3], ARGV[2])
  return 1
end

if action == 'take' then
  local found, again = {}, string.format('%.0f', tonumber(ARGV[2]) + tonumber(ARGV[3]))
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', ARGV[2], 'LIMIT', 0, tonumber(ARGV[4]))) do
    redis.call('ZADD', due, again, id)
    found[#found + 1] = id
    found[#found + 1] = redis.call('HGET', jobs, id)
  end
  return found
end

if action == 'move' then
  return redis.call('ZADD', due, 'XX', 'CH', ARGV[3], ARGV[2])
end

if action == 'waiting' then
  return redis.call('HLEN', jobs)
end

if action == 'count' then
  for index = 3, #ARGV, 2 do
    redis.call('HINCRBY', due, ARGV[index], ARGV[index + 1])
  end
  return redis.call('PEXPIRE', due, ARGV[2])
end

if action == 'counts' then
  return redis.call('HGETALL', due)
end

if action == 'stop' then
  redis.call('SET', due, '1', 'PX', ARGV[2])
  return 1
end

if action == 'stopped' then
  return redis.call('GET', due) and 1 or 0
end

for index = 2, #ARGV do
  redis.call('ZREM', due, ARGV[index])
  redis.call('HDEL', jobs, ARGV[index])
end
return 1
