-- Bytes that wait in all inboxes, by the hour in which they end: an hour that is over takes its sum with it.
--
-- KEYS[1]  <prefix>:inbox_total:{inbox}    hash: hour -> bytes
-- ARGV[1]  the present hour; ARGV[2] milliseconds that the hash is kept; then hour, change…
-- Returns the sum.

local total, hour, sum = KEYS[1], tonumber(ARGV[1]), 0
for index = 3, #ARGV, 2 do
  redis.call('HINCRBY', total, ARGV[index], ARGV[index + 1])
end
local fields = redis.call('HGETALL', total)
for index = 1, #fields, 2 do
  if tonumber(fields[index]) < hour then
    redis.call('HDEL', total, fields[index])
  else
    sum = sum + tonumber(fields[index + 1])
  end
end
if #fields > 0 then
  redis.call('PEXPIRE', total, ARGV[2])
end
return sum
