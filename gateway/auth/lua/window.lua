-- Counts once more in a window, which ends by itself: a counter never outlives the node that began it.
--
-- KEYS[1]  <prefix>:window:{<name>}:<seconds>:<window>    counter
-- ARGV[1]  milliseconds that a new counter is kept
-- Returns the count, this time included.

local count = redis.call('INCR', KEYS[1])
if count == 1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return count
