-- One user's inbox: what was published to the personal channel and wants to be acknowledged, and the user's
-- grants for subscribe messages. Everything about one user is decided here, in one step.
--
-- KEYS[1]  <prefix>:inbox:{<channel>}          hash: id -> a record (see `fields`); #seq counts, #bytes waiting
-- KEYS[2]  <prefix>:inbox_data:{<channel>}     hash: id -> the publication, while it is waited for
-- KEYS[3]  <prefix>:inbox_waiting:{<channel>}  sorted set: ids that wait, by the millisecond of their end
-- KEYS[4]  <prefix>:inbox_settled:{<channel>}  sorted set: the others, by the millisecond they are forgotten
-- KEYS[5]  <prefix>:grants:{<channel>}         hash: template -> messages allowed; -1 where the user banned it
-- ARGV[1]  what to do
-- ARGV[2]  now, in milliseconds; the clock is the caller's
-- ARGV[3]  milliseconds that a settled record is kept
-- ARGV[4]  records that may wait, and as many that may be kept settled
-- ARGV[5]… of the action

local inbox, data, waiting, settled, grants = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local action, now, kept, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

-- state: p pending, a acknowledged, x expired. Times are milliseconds, 0: not yet.
-- fallback: - none, w waiting, s being sent, f sent, u nobody knows, r refused, a not needed.
local fields = {
  'state', 'seq', 'published', 'delivered', 'settled', 'ends', 'size', 'fallback', 'since', 'attempts', 'reason',
}

local function whole(number)
  return string.format('%.0f', number)
end

local function read(id)
  local text = string.sub(id, 1, 1) ~= '#' and redis.call('HGET', inbox, id)
  if not text then
    return nil
  end
  local record, index = {id = id, text = text}, 0
  for word in string.gmatch(text, '%S+') do
    index = index + 1
    record[fields[index]] = word
  end
  return record
end

local function write(record)
  local words = {}
  for index, field in ipairs(fields) do
    words[index] = record[field]
  end
  record.text = table.concat(words, ' ')
  redis.call('HSET', inbox, record.id, record.text)
end

-- The keys live at least so long.
local function keep(ttl)
  ttl = math.max(ttl, redis.call('PTTL', inbox))
  for index = 1, 4 do
    redis.call('PEXPIRE', KEYS[index], whole(ttl))
  end
end

-- The record waits no longer: its publication goes, what became of it stays for a while.
local function settle(record, state)
  record.state, record.settled = state, whole(now)
  if record.fallback == 'w' and state == 'a' then
    record.fallback, record.since = 'a', whole(now)
  end
  write(record)
  redis.call('HDEL', data, record.id)
  redis.call('ZREM', waiting, record.id)
  redis.call('HINCRBY', inbox, '#bytes', -tonumber(record.size))
  redis.call('ZADD', settled, whole(now + kept), record.id)
end

local function forget(ids)
  for _, id in ipairs(ids) do
    redis.call('HDEL', inbox, id)
    redis.call('ZREM', settled, id)
  end
end

local function tidy()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', waiting, '-inf', whole(now))) do
    local record = read(id)
    if record then
      settle(record, 'x')
    end
  end
  forget(redis.call('ZRANGEBYSCORE', settled, '-inf', whole(now)))
  local surplus = redis.call('ZCARD', settled) - most
  if surplus > 0 then
    forget(redis.call('ZRANGE', settled, 0, surplus - 1))
  end
end

local function give_back(template)
  if (tonumber(redis.call('HGET', grants, template)) or -1) >= 0 then
    redis.call('HINCRBY', grants, template, 1)
  end
end

tidy()

-- id, end, size, bytes that may wait, fallback, publication, <prefix>:broadcast:<channel> (Redis Cluster:
-- <prefix>:broadcast:{<channel>}), PUBLISH or SPUBLISH. Returns 0 kept, 1 known already, 2 too many, 3 too many bytes.
if action == 'publish' then
  local id, ends, size = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
  if redis.call('HEXISTS', inbox, id) == 1 then
    return 1
  end
  if redis.call('ZCARD', waiting) >= most then
    return 2
  end
  if tonumber(redis.call('HGET', inbox, '#bytes') or '0') + size > tonumber(ARGV[8]) then
    return 3
  end
  write({
    id = id, state = 'p', seq = whole(redis.call('HINCRBY', inbox, '#seq', 1)), published = whole(now),
    delivered = '0', settled = '0', ends = whole(ends), size = whole(size), fallback = ARGV[9], since = whole(now),
    attempts = '0', reason = '-',
  })
  redis.call('HSET', data, id, ARGV[10])
  redis.call('HINCRBY', inbox, '#bytes', size)
  redis.call('ZADD', waiting, whole(ends), id)
  keep(ends - now + kept)
  redis.call(ARGV[12], ARGV[11], '!p:0::' .. ARGV[10])
  return 0
end

-- ids… Returns the records that the user has acknowledged, as they were before.
if action == 'acknowledge' then
  local found = {}
  for index = 5, #ARGV do
    local record = read(ARGV[index])
    if record and record.state ~= 'x' then
      found[#found + 1] = record.id
      found[#found + 1] = record.text
      if record.state == 'p' then
        settle(record, 'a')
      end
    end
  end
  if #found > 0 then
    keep(kept)
  end
  return found
end

-- ids… Returns those that had not been delivered before, as they are now.
if action == 'deliver' then
  local found = {}
  for index = 5, #ARGV do
    local record = read(ARGV[index])
    if record and record.delivered == '0' and record.state == 'p' then
      record.delivered = whole(now)
      write(record)
      found[#found + 1] = record.id
      found[#found + 1] = record.text
    end
  end
  return found
end

-- sequence, bytes. Returns what waits after `sequence`, in order, at least one: id, sequence, when it was
-- delivered first, publication.
if action == 'read' then
  local after, room, records, found = tonumber(ARGV[5]), tonumber(ARGV[6]), {}, {}
  for _, id in ipairs(redis.call('ZRANGE', waiting, 0, -1)) do
    local record = read(id)
    if record and tonumber(record.seq) > after then
      records[#records + 1] = record
    end
  end
  table.sort(records, function(a, b) return tonumber(a.seq) < tonumber(b.seq) end)
  for _, record in ipairs(records) do
    room = room - tonumber(record.size)
    if room < 0 and #found > 0 then
      break
    end
    found[#found + 1] = record.id
    found[#found + 1] = record.seq
    found[#found + 1] = record.delivered
    found[#found + 1] = redis.call('HGET', data, record.id)
  end
  return found
end

-- ids…, none: all. Returns ids and records.
if action == 'status' then
  local ids, found = {unpack(ARGV, 5)}, {}
  if #ids == 0 then
    ids = redis.call('HKEYS', inbox)
  end
  for _, id in ipairs(ids) do
    local record = read(id)
    if record then
      found[#found + 1] = record.id
      found[#found + 1] = record.text
    end
  end
  return found
end

-- id, template, 1 where a grant is needed, milliseconds after which a sender is given up, the sender's word.
-- Returns {what, record}: send, busy (another node is at it), decided (just now), done (before), gone.
if action == 'claim' then
  local record, template, strict, sender = read(ARGV[5]), ARGV[6], ARGV[7] == '1', ARGV[9]
  if not record then
    return {'gone', ''}
  end
  if record.fallback == 's' and record.reason == sender then
    return {'send', record.text}
  end
  if record.fallback == 's' and now - tonumber(record.since) < tonumber(ARGV[8]) then
    return {'busy', record.text}
  end
  if record.fallback ~= 'w' and record.fallback ~= 's' then
    return {'done', record.text}
  end
  local left = tonumber(redis.call('HGET', grants, template))
  if record.fallback == 's' then
    -- Whoever sent it died at it: it may have been sent, and is not sent twice.
    record.fallback, record.reason = 'u', 'interrupted'
  elseif record.state == 'x' then
    record.fallback, record.reason = 'r', 'expired'
  elseif left and left < 0 then
    record.fallback, record.reason = 'r', 'banned'
  elseif strict and (left or 0) == 0 then
    record.fallback, record.reason = 'r', 'no_grant'
  else
    if (left or 0) > 0 then
      redis.call('HINCRBY', grants, template, -1)
    end
    record.fallback, record.reason = 's', sender
    record.attempts = whole(tonumber(record.attempts) + 1)
  end
  record.since = whole(now)
  write(record)
  return {record.fallback == 's' and 'send' or 'decided', record.text}
end

-- id, template, fallback, reason, what of the grant: spent, back or none. Returns the record, or nothing where
-- it was decided before.
if action == 'settle' then
  local record, template = read(ARGV[5]), ARGV[6]
  if not record or record.fallback ~= 's' then
    return false
  end
  record.fallback, record.reason, record.since = ARGV[7], ARGV[8], whole(now)
  if ARGV[9] == 'back' then
    give_back(template)
  elseif ARGV[9] == 'none' and (tonumber(redis.call('HGET', grants, template)) or 0) > 0 then
    redis.call('HSET', grants, template, 0)
  end
  if record.fallback == 'w' and record.state == 'a' then
    record.fallback, record.reason = 'a', '-'
  end
  write(record)
  return record.text
end

-- milliseconds kept, templates that may be kept, most grants of one, then template and change: +1, a number, ban.
-- Returns {1, template, count…}, or {0} where there are too many templates.
if action == 'grant' then
  for index = 8, #ARGV, 2 do
    local template, change = ARGV[index], ARGV[index + 1]
    local left = tonumber(redis.call('HGET', grants, template))
    if not left and redis.call('HLEN', grants) >= tonumber(ARGV[6]) then
      return {0}
    end
    if change == 'ban' then
      left = -1
    elseif change == '+1' then
      left = math.max(left or 0, 0) + 1
    elseif change == '+0' then
      left = left or 0
    else
      left = tonumber(change)
    end
    redis.call('HSET', grants, template, whole(math.min(left, tonumber(ARGV[7]))))
    redis.call('PEXPIRE', grants, ARGV[5])
  end
  return {1, unpack(redis.call('HGETALL', grants))}
end

return redis.error_reply('inbox.lua: no such action')
