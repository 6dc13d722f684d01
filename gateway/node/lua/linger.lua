-- Keeps a leave, which ends by itself where the node that should publish it died.
--
-- KEYS[1]  <prefix>:leaves:{<channel>}:<user>    list of client infos
-- ARGV[1]  the client info; ARGV[2] milliseconds that the list is kept

redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
