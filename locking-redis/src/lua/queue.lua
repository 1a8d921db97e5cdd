-- Who waits for a key, and to whom it is handed when it becomes free.
--
-- A waiting request is a text: request, ms, kind, spare, owner and its keys, with a NUL after each but
-- the last. It stands in the queue of one key that blocks it, the same text as long as it waits.

-- After how many moves a request for several keys has the free ones kept for it, and for how long in ms: at
-- first, and at most, as its client may be stopped, and costs the others less than a second.
local MOVES, KEPT_TERM, LONGEST_KEPT_TERM = 16, 25, 800

-- How many requests a free key is refused to, one after another, before it is kept for the next one and its client
-- asked to go on from there: so a release costs the same however many wait. What it is kept with.
local REFUSALS, IN_PASSING = 4, '0000000000000001'

local function moves_of(request) return NS .. '\0m' .. request end

-- A lock's value; '' for a key of another type, which is somebody else's too.
local function get(key)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' then return '' end
  return value
end

-- Sets a key that is free. False for one that holds a type of somebody else's. ms '': no expiry.
local function take(key, token, e, ms)
  if ms == '' then return call('SET', key, lock_value(token, e.kind, e.request, e.owner), 'NX') end
  return call('SET', key, lock_value(token, e.kind, e.request, e.owner), 'NX', 'PX', ms)
end

local function entry_text(e)
  return table.concat({ e.request, e.ms, e.kind, e.spare, e.owner, table.concat(e.keys, '\0') }, '\0')
end

local function entry_of(text)
  local parts, from = {}, 1
  while true do
    local at = string.find(text, '\0', from, true)
    if not at then break end
    parts[#parts + 1] = string.sub(text, from, at - 1)
    from = at + 1
  end
  parts[#parts + 1] = string.sub(text, from)
  local keys = {}
  for i = 6, #parts do keys[i - 5] = parts[i] end
  return {
    request = parts[1], ms = parts[2], kind = parts[3], spare = parts[4], owner = parts[5], keys = keys,
  }
end

-- What a key with this value is to a request:
-- 'free', 'mine' (granted to it already), 'kept' (for it), 'own' (its owner's lease); nil: it blocks.
local function standing(value, e)
  if not value then return 'free' end
  local token, kind, request, owner = read(value)
  if not token then return nil end
  if request == e.request then return kind == 'r' and 'kept' or 'mine', token end
  if kind == 'o' and e.kind == 'o' and owner == e.owner then return 'own', token end
  return nil
end

-- Whether an owner's lease on a key is a grant from the queue that its client hasn't confirmed: it is short,
-- and in none of the owner's indexes.
local function is_unconfirmed(key, owner)
  local left = call('PTTL', key)
  if left < 0 or left > TERM then return false end
  local index = index_of(owner)
  local only = only_of(index)
  if only then return only ~= key end
  -- One that has ended may still be named.
  local ends = call('ZSCORE', index, key)
  return not ends or ends * 1000 < now()
end

-- Takes those keys of a request that are free, or kept for it, all with one token. Where one turns out
-- to hold somebody else's type, none. `values`: those of its keys, just read.
local function take_free(e, ms, values)
  local token, taken = draw(1 + e.spare), {}
  for i = 1, #e.keys do
    local key, is = e.keys[i], standing(values[i], e)
    if is == 'kept' then call('DEL', key) end
    if is == 'free' or is == 'kept' then
      if not take(key, token, e, ms) then
        for j = 1, #taken do call('DEL', taken[j]) end
        return nil
      end
      taken[#taken + 1] = key
    end
  end
  return token, taken
end

-- The seat of the first who waits for a key; nil where nobody does.
local function first_seat(key)
  local _, seat = unpack(call('ZRANGE', queue_of(key), 0, 0, 'WITHSCORES'))
  return tonumber(seat)
end

-- Lets a request wait for a key before all others.
local function queue_first(key, text)
  local seat = first_seat(key)
  queue_at(key, seat and seat - 1 or draw(1), text)
end

-- The queue of one of its keys in which a request stands.
local function queue_with(e, text)
  for i = 1, #e.keys do
    local queue = queue_of(e.keys[i])
    if call('ZSCORE', queue, text) then return queue end
  end
end

local function unqueue(e, text)
  for i = 1, #e.keys do call('ZREM', queue_of(e.keys[i]), text) end
  if #e.keys > 1 then call('DEL', moves_of(e.request)) end
end

-- Keeps those keys of a request that are free, for so many ms: nobody else takes them meanwhile.
local function keep(e, keys, token, ms)
  local keeping = { request = e.request, kind = 'r', owner = '' }
  for i = 1, #keys do take(keys[i], token, keeping, ms) end
end

-- Whether a key with this value is kept so, and for which request.
local function is_kept_in_passing(value)
  local token, kind, request = read(value)
  return kind == 'r' and token == IN_PASSING and request
end

-- A request for several keys goes on to the queue of another key that somebody else holds, and keeps its seat: it
-- comes after those who came before it. If that happens time and again, those that are free are kept for it for
-- a moment: else requests for one key would pass it for ever. For twice as long each time, so that it comes to be
-- as long as the others hold their keys; never for long where another such request is in its way, so that two
-- can't block each other. `value`: that of the key that blocks.
local function move_on(text, seat, e, blocking, value)
  local moves = moves_of(e.request)
  queue_at(blocking, seat, text)
  local count = call('INCR', moves)
  call('PEXPIRE', moves, QUEUE_TERM)
  if count < MOVES then return end
  -- Nobody releases what is kept: its client asks again when that is over, which hands on all of it. It
  -- hears of it by its first key. Nobody hears: its client is gone.
  local term, _, kind = KEPT_TERM, read(value)
  if kind ~= 'r' then term = math.min(KEPT_TERM * 2 ^ (count - MOVES), LONGEST_KEPT_TERM) end
  if tell(e.request, 'look\0' .. (term + 1) .. '\0' .. e.keys[1]) == 0 then
    return unqueue(e, text)
  end
  keep(e, e.keys, '0000000000000000', term)
end

-- What keeps a request that is the first to wait for the free key `key` from having all of its keys: the number of
-- one that somebody else holds; else of one for which somebody waits who came before it, and then true. In the
-- middle the values of its keys. One that is kept in passing for a request that came after it is as good as free.
local function hindrance(e, seat, key)
  local values, awaited, displaced = {}, nil, {}
  for i = 1, #e.keys do
    local other = e.keys[i]
    local value = other ~= key and get(other)
    local is_passed = is_kept_in_passing(value)
    if value and not is_passed then
      values[i] = value
      if not standing(value, e) then return i, values, false end
    elseif other ~= key and (first_seat(other) or seat) < seat then
      awaited = awaited or i
    elseif is_passed then
      displaced[#displaced + 1] = other
    end
  end
  if not awaited then
    for i = 1, #displaced do call('DEL', displaced[i]) end
  end
  return awaited, values, true
end

-- Hands a free key to the first in its queue, if that lives and can have all of its keys. `left`: how many more
-- requests may be refused one; what is left of them then is the answer, and the key that is to be handed on, too.
local function hand_on_one(key, asking, left)
  local text, seat = unpack(call('ZPOPMIN', queue_of(key)))
  -- Its first was served by another key meanwhile.
  if not text then return left end
  local e = entry_of(text)
  local blocking, values, is_free = hindrance(e, tonumber(seat), key)
  if blocking and left == 0 then
    -- First again. Its key is kept: who comes now may not pass those behind it.
    queue_at(key, seat, text)
    keep(e, { key }, IN_PASSING, KEPT_TERM)
    -- Of no token: it asks again.
    if tell_grant(e.request, '0', KEPT_TERM, key) then return left end
    call('DEL', key)
    unqueue(e, text)
  elseif blocking then
    local other = e.keys[blocking]
    if is_free then queue_at(other, seat, text) else move_on(text, seat, e, other, values[blocking]) end
    return left - 1, is_free and other
  elseif e.request == asking then
    local token, taken = take_free(e, e.ms, values)
    if token and e.kind == 'o' then note_owner(e.owner, taken, e.ms) end
  else
    local ms = short(e.ms)
    local token, taken = take_free(e, ms, values)
    if token and not tell_grant(e.request, token, ms, e.keys[1]) then
      for i = 1, #taken do call('DEL', taken[i]) end
      if #e.keys > 1 then call('DEL', moves_of(e.request)) end
    end
  end
  return left
end

-- Hands keys without a holder to those who wait for them: who came first, and can have all of its keys, is served
-- first, whichever of them it waits for.
-- `asking`: the request on whose behalf this runs. It is told by the reply, and has its whole expiry.
local function hand_on_all(keys, asking)
  if #keys > 1 then
    local queues = {}
    for i = 1, #keys do queues[i] = queue_of(keys[i]) end
    if count_all('EXISTS', queues) == 0 then return end
  end
  -- Those that are free and awaited, by the seats of the first in their queues.
  local awaited, left = {}, REFUSALS
  local function add(key)
    local seat = first_seat(key)
    if not seat then return end
    local at = 1
    while awaited[at] and awaited[at].seat < seat do at = at + 1 end
    table.insert(awaited, at, { key = key, seat = seat })
  end
  for i = 1, #keys do add(keys[i]) end
  while #awaited > 0 do
    local key, other = table.remove(awaited, 1).key, nil
    if call('EXISTS', key) == 0 then
      left, other = hand_on_one(key, asking, left)
      if other then add(other) end
      add(key)
    end
  end
end

local function hand_on(key, asking) hand_on_all({ key }, asking) end

-- A client whose guard ended has had its turn: the key alone, which it asked for meanwhile, comes after all who
-- wait, if it came first.
local function step_back(key, origin)
  local first, _, is_last = first_two(key, origin)
  if is_last then call('ZADD', queue_of(key), 'XX', draw(1), first) end
end

-- Whether a request is among the first who wait. The very first may be gone: nobody finds that out before the key
-- is free.
local function is_near_head(queue, text)
  local first = call('ZRANGE', queue, 0, 3)
  for i = 1, #first do
    if first[i] == text then return true end
  end
  return false
end
