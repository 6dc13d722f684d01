-- Takes an entry out of a hash, unless it has another value by now.
--
-- KEYS[1]  the hash
-- ARGV[1]  the field
-- ARGV[2]  the value that has expired

if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  return redis.call('HDEL', KEYS[1], ARGV[1])
end
return 0
