-- Who is here, over all nodes, and what the backend has still to be told of it: one partition of the users.
-- `machine.py` has the same rules, word for word, for a gateway without Redis; a test holds the two together.
--
-- KEYS[1]  <prefix>:online:users:{online:<p>}     hash: user -> record (MessagePack, below)
-- KEYS[2]  <prefix>:online:due:{online:<p>}       sorted set: user, a zero byte, channel or nothing -> end of the grace
-- KEYS[3]  <prefix>:online:ready:{online:<p>}     sorted set: user with events -> when the next may be delivered
-- KEYS[4]  <prefix>:online:waiting:{online:<p>}   sorted set: the same users -> when their oldest event happened
-- KEYS[5]  <prefix>:online:nodes:{online:<p>}     sorted set: node -> end of its lease
-- KEYS[6]  <prefix>:online:meta:{online:<p>}      hash: epoch, seq, counts, and when a node looked here last
-- ARGV[1]  what to do: put | sweep | take | settle | states | mark | page | leave
-- ARGV[2]  now, or 0 for the server's clock; all times are unix milliseconds
-- ARGV[3]  the kinds of events that are wanted, by their first letters
-- ARGV[4]  events that one user may have waiting; ARGV[5] all users together
-- ARGV[6]  the highest id that the caller has seen: no lower one is given again
-- ARGV[7]… arguments of the action
--
-- A record: g generation, s state (o, b, g: gone), i id and t time of its last change, r why it is away,
-- c {node -> f or h: in the foreground or hidden}, w {channel -> {node -> 1}}, q events that wait {kind, generation,
-- id, time, reason, channel}, a id of the event that was taken last, f how often it failed, kg and ks what the
-- backend has acknowledged.

local users, due, ready, waiting, nodes, meta = unpack(KEYS)
local action, now, wanted = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local user_limit, total_limit, floor = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local stored = redis.call('HMGET', meta, 'seq', 'online', 'background', 'queued')
local seq, queued = tonumber(stored[1] or 0), tonumber(stored[4] or 0)
local counts = {o = tonumber(stored[2] or 0), b = tonumber(stored[3] or 0), g = 0}
local collapsed = 0

local function next_id()
  seq = math.max(seq + 1, floor + 1, now)
  return seq
end

local function remember()
  redis.call('HSET', meta, 'seq', string.format('%.0f', seq), 'online', counts.o, 'background', counts.b,
    'queued', queued)
end

local function load(user)
  local packed = redis.call('HGET', users, user)
  return packed and cmsgpack.unpack(packed) or {g = 0, s = 'g', i = 0, t = 0, r = '', c = {}, w = {}, q = {}, a = 0, f = 0, kg = 0, ks = 'g'}
end

local function save(user, record)
  if record.s == 'g' and not record.q[1] and not next(record.c) and not next(record.w) then
    redis.call('HDEL', users, user)
  else
    redis.call('HSET', users, user, cmsgpack.pack(record))
  end
end

-- The events that bring the backend from what it knows to what is so, and no more; `squeeze`: a visit of which it
-- knows nothing is left out altogether.
local function compact(record, squeeze)
  local before, kept, partings, last, begin = #record.q, {}, {}, nil, {}
  local known_g, known_s = record.kg, record.ks
  for _, event in ipairs(record.q) do
    if event[3] <= record.a then
      kept[#kept + 1] = event
      if event[1] ~= 'u' then
        known_g, known_s = event[2], event[1]
      end
    elseif event[1] == 'u' then
      partings[event[6]] = event
    else
      last = event
      if event[1] == 'o' and event[2] == event[3] then
        begin[event[2]] = event
      end
    end
  end
  local first = last and known_g ~= last[2] and begin[last[2]]
  local unseen = first and last[1] == 'd' and (known_s == 'g' or known_s == 'd')
  if last and not (squeeze and unseen) then
    if first and first ~= last then
      kept[#kept + 1] = first
    end
    kept[#kept + 1] = last
  end
  if not squeeze then
    local newest = {}
    for _, event in pairs(partings) do
      newest[#newest + 1] = event
    end
    table.sort(newest, function(one, other) return one[3] > other[3] end)
    for index = 1, math.min(#newest, math.floor(user_limit / 2)) do
      kept[#kept + 1] = newest[index]
    end
  end
  table.sort(kept, function(one, other) return one[3] < other[3] end)
  record.q = kept
  collapsed = collapsed + before - #kept
  queued = queued + #kept - before
end

local function requeue(user, record)
  if record.q[1] then
    redis.call('ZADD', ready, 'NX', now, user)
    redis.call('ZADD', waiting, record.q[1][4], user)
  else
    redis.call('ZREM', ready, user)
    redis.call('ZREM', waiting, user)
  end
end

local function emit(user, record, kind, id, channel)
  if not string.find(wanted, kind, 1, true) then
    return
  end
  local reason = kind == 'o' and '' or record.r
  record.q[#record.q + 1] = {kind, record.g, id, now, reason, channel}
  queued = queued + 1
  if queued > total_limit then
    compact(record, true)
  elseif #record.q > user_limit then
    compact(record, false)
  end
  requeue(user, record)
end

local function become(user, record, state, reason)
  local before = record.s
  counts[before] = counts[before] - 1
  counts[state] = counts[state] + 1
  record.s, record.r, record.i, record.t = state, reason, next_id(), now
  if state == 'o' and before == 'g' then
    record.g = record.i
    emit(user, record, 'o', record.i, '')
  elseif state == 'o' then
    if string.find(wanted, 'b', 1, true) then
      emit(user, record, 'o', record.i, '')
    end
  else
    emit(user, record, state == 'b' and 'b' or 'd', record.i, '')
  end
end

local function part(user, record, channel, reason)
  record.w[channel] = nil
  redis.call('ZREM', due, user .. '\0' .. channel)
  if record.s ~= 'g' then
    local was = record.r
    record.r = reason
    emit(user, record, 'u', next_id(), channel)
    record.r = was
  end
end

local function finish(user, record)
  local channels = {}
  for channel in pairs(record.w) do
    channels[#channels + 1] = channel
  end
  table.sort(channels)
  for _, channel in ipairs(channels) do
    part(user, record, channel, record.r)
  end
  redis.call('ZREM', due, user .. '\0')
  become(user, record, 'g', record.r)
end

local function is_in(record, state)
  for _, each in pairs(record.c) do
    if each == state then
      return true
    end
  end
  return false
end

-- The nodes of a record have changed; `left`: one of them had a connection of the user, and has none now.
local function settle(user, record, left, reason, grace)
  if is_in(record, 'f') then
    redis.call('ZREM', due, user .. '\0')
    if record.s ~= 'o' then
      become(user, record, 'o', '')
    end
  elseif next(record.c) then
    redis.call('ZREM', due, user .. '\0')
    if record.s == 'g' then
      become(user, record, 'o', '')
    end
    if record.s == 'o' then
      become(user, record, 'b', 'hidden')
    end
  elseif left and record.s ~= 'g' then
    if record.s == 'o' then
      become(user, record, 'b', reason)
    end
    if grace > 0 then
      redis.call('ZADD', due, now + grace, user .. '\0')
    else
      finish(user, record)
    end
  end
end

local function watch(user, record, node, channel, flag, reason, grace)
  local there = record.w[channel]
  if flag ~= '' then
    there = there or {}
    there[node] = 1
    record.w[channel] = there
    redis.call('ZREM', due, user .. '\0' .. channel)
  elseif there and there[node] then
    there[node] = nil
    if not next(there) then
      if grace > 0 then
        redis.call('ZADD', due, now + grace, user .. '\0' .. channel)
      else
        part(user, record, channel, reason)
      end
    end
  end
end

-- A node that lost its lease is told so, and says again who is with it.
local function renew(node, lease)
  local ends = tonumber(redis.call('ZSCORE', nodes, node) or 0)
  redis.call('ZADD', nodes, now + lease, node)
  return ends > now and 1 or 0
end

local function put()
  local node, lease, registered = ARGV[7], tonumber(ARGV[8]), nil
  registered = renew(node, lease)
  for at = 9, #ARGV, 5 do
    local user, channel, flag, reason = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local grace = tonumber(ARGV[at + 4])
    local record = load(user)
    if channel ~= '' then
      watch(user, record, node, channel, flag, reason, grace)
    else
      local left = record.c[node] ~= nil and flag == ''
      record.c[node] = flag ~= '' and flag or nil
      settle(user, record, left, reason, grace)
    end
    save(user, record)
  end
  remember()
  return {registered, redis.call('ZCOUNT', ready, '-inf', now), collapsed, seq}
end

local function end_graces(limit)
  local over = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, limit)
  for _, member in ipairs(over) do
    local user, channel = string.match(member, '^(.*)%z([^%z]*)$')
    local record = load(user)
    redis.call('ZREM', due, member)
    if channel ~= '' then
      if record.w[channel] and not next(record.w[channel]) then
        part(user, record, channel, record.r ~= '' and record.r or 'lost')
      end
    elseif record.s ~= 'g' and not next(record.c) then
      finish(user, record)
    end
    save(user, record)
  end
  return #over
end

-- Users of nodes whose lease is over lose their connections there; a slice of all users at a time.
local function bury(limit, grace)
  local dead, is_dead = redis.call('ZRANGEBYSCORE', nodes, '-inf', now), {}
  if not dead[1] then
    return 0
  end
  for _, node in ipairs(dead) do
    is_dead[node] = true
  end
  local cursor = redis.call('HGET', meta, 'cursor')
  if not cursor then
    cursor = '0'
    redis.call('HSET', meta, 'dying', cmsgpack.pack(dead))
  end
  local reply = redis.call('HSCAN', users, cursor, 'COUNT', limit)
  for at = 1, #reply[2], 2 do
    local user, record = reply[2][at], cmsgpack.unpack(reply[2][at + 1])
    local left, changed, gone = false, false, {}
    for node in pairs(record.c) do
      if is_dead[node] then
        gone[node] = true
        left, changed = true, true
      end
    end
    for node in pairs(gone) do
      record.c[node] = nil
    end
    for channel, there in pairs(record.w) do
      for node in pairs(is_dead) do
        if there[node] then
          changed = true
          watch(user, record, node, channel, '', 'node', math.max(grace, 1))
        end
      end
    end
    if left then
      settle(user, record, true, 'node', grace)
    end
    if changed then
      save(user, record)
    end
  end
  if reply[1] ~= '0' then
    redis.call('HSET', meta, 'cursor', reply[1])
    return 1
  end
  for _, node in ipairs(cmsgpack.unpack(redis.call('HGET', meta, 'dying'))) do
    if tonumber(redis.call('ZSCORE', nodes, node) or now + 1) <= now then
      redis.call('ZREM', nodes, node)
    end
  end
  redis.call('HDEL', meta, 'cursor', 'dying')
  return redis.call('ZCOUNT', nodes, '-inf', now) > 0 and 1 or 0
end

local function sweep()
  local node, lease, fresh, limit, grace = ARGV[7], tonumber(ARGV[8]), ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])
  local told = seq
  redis.call('HSETNX', meta, 'epoch', fresh)
  local before = redis.call('HMGET', meta, 'epoch', 'swept', 'quiet')
  local registered, quiet = renew(node, lease), tonumber(before[3] or 0)
  -- Nobody has looked for a while: Redis was away, and so was everybody's news. No node is blamed for it, and
  -- nobody is gone, before all have had the time to say who is with them.
  if not before[2] or now - tonumber(before[2]) > lease / 2 then
    quiet = now + lease
    redis.call('HSET', meta, 'quiet', string.format('%.0f', quiet))
  end
  redis.call('HSET', meta, 'swept', string.format('%.0f', now))
  local more = 0
  if now >= quiet then
    local ended = end_graces(limit)
    more = math.max(bury(limit, grace), ended == limit and 1 or 0)
  end
  remember()
  local oldest = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
  return {before[1], told, registered, redis.call('ZCOUNT', ready, '-inf', now), more, counts.o, counts.b, queued,
    oldest[2] and now - tonumber(oldest[2]) or 0, collapsed, seq}
end

-- The oldest event of each user whose turn it is; until `claim` is over nobody else gets it.
local function take()
  local limit, claim, taken = tonumber(ARGV[7]), tonumber(ARGV[8]), {}
  for _, user in ipairs(redis.call('ZRANGEBYSCORE', ready, '-inf', now, 'LIMIT', 0, limit)) do
    local record = load(user)
    local event = record.q[1]
    if event then
      record.a = event[3]
      save(user, record)
      redis.call('ZADD', ready, now + claim, user)
      taken[#taken + 1] = {user, event[1], event[2], event[3], event[4], event[5], event[6], record.f}
    else
      requeue(user, record)
    end
  end
  return taken
end

-- What became of events that were taken: user, id, taken by the backend or not, when to try again.
local function settle_events()
  local ttl, dropped = tonumber(ARGV[7]), 0
  for at = 8, #ARGV, 4 do
    local user, id, ok, delay = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2] == '1', tonumber(ARGV[at + 3])
    local record = load(user)
    local event = record.q[1]
    if event and event[3] == id then
      local over = not ok and now - event[4] > ttl
      if ok or over then
        table.remove(record.q, 1)
        queued, record.f = queued - 1, 0
        if over then
          dropped = dropped + 1
        elseif event[1] ~= 'u' then
          record.kg, record.ks = event[2], event[1]
        end
        redis.call('ZREM', ready, user)
      else
        record.f = record.f + 1
        redis.call('ZADD', ready, now + delay, user)
      end
      requeue(user, record)
      save(user, record)
    end
  end
  remember()
  return {dropped, redis.call('ZCOUNT', ready, '-inf', now)}
end

local function described(user, record)
  return {user, record.s, record.g, record.i, record.t}
end

local function states()
  local found = {}
  for at = 7, #ARGV do
    found[#found + 1] = described(ARGV[at], load(ARGV[at]))
  end
  return found
end

local function page()
  local reply, found = redis.call('HSCAN', users, ARGV[7], 'COUNT', ARGV[8]), {}
  for at = 1, #reply[2], 2 do
    local record = cmsgpack.unpack(reply[2][at + 1])
    if record.s ~= 'g' then
      found[#found + 1] = described(reply[2][at], record)
    end
  end
  return {reply[1], found}
end

if action == 'put' then
  return put()
elseif action == 'sweep' then
  return sweep()
elseif action == 'take' then
  return take()
elseif action == 'settle' then
  return settle_events()
elseif action == 'states' then
  return states()
elseif action == 'page' then
  return page()
elseif action == 'mark' then
  next_id()
  remember()
  return seq
elseif action == 'leave' then
  return redis.call('ZREM', nodes, ARGV[7])
end
return redis.error_reply('ERR no such action')
