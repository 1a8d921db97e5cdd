-- What the operations build on where it isn't the usual case.

-- How many arguments a command has at most: Lua's stack bounds it.
local PAGE = 1000

-- How long a grant from the queue lasts until its client confirms it, in ms: what a dead or stopped
-- client at the head of a queue costs those behind it.
local TERM = 400
-- How long a queue is kept that nobody asks about any more, in ms, and what is known of who waited in it.
-- Who waits asks twice a second, and one whose queue is gone asks to be the first of a new one.
local QUEUE_TERM = 15000

local function withdrawn_of(request) return NS .. '\0x' .. request end
local function queue_of(key) return NS .. '\0q' .. key end
local function index_of(owner) return NS .. '\0o' .. owner end
local function lock_value(token, kind, request, owner)
  return 'lk1|' .. token .. '|' .. kind .. '|' .. request .. '|' .. owner
end

-- Lets a request wait for a key, unless it does already: by a seat that was just drawn after all who have come, or
-- by the one that it had among those who wait for another key.
local function queue_at(key, seat, text)
  local queue = queue_of(key)
  call('ZADD', queue, 'NX', seat, text)
  call('PEXPIRE', queue, QUEUE_TERM)
end

-- Tells the client of a request. Answers how many heard: 0 if the client is gone.
local function tell(request, message)
  return call('PUBLISH', NS .. '\0c' .. string.sub(request, 1, 16), message)
end

-- For how long a request is granted from the queue.
local function short(ms)
  if ms == '' or tonumber(ms) > TERM then return TERM end
  return ms
end
-- Tells it, and is called after it is done: whoever hears of a grant has it. False: its client is gone.
local function tell_grant(request, token, ms, key)
  return tell(request, table.concat({ 'grant', token, ms, request, key }, '\0')) > 0
end

-- The greatest token given so far, as text. `counter`: as it was just read.
local function newest_of(counter) return drawn and string.format('%016d', drawn) or counter or '0' end

-- What a command answers for many keys at once, as a list or, of one that counts, the sum.
local function get_all(keys)
  if #keys == 0 then return {} end
  if #keys <= PAGE then return call('MGET', unpack(keys)) end
  local values = {}
  for from = 1, #keys, PAGE do
    local page = call('MGET', unpack(keys, from, math.min(from + PAGE - 1, #keys)))
    for i = 1, #page do values[from + i - 1] = page[i] end
  end
  return values
end
local function count_all(command, keys)
  local sum = 0
  for from = 1, #keys, PAGE do
    sum = sum + call(command, unpack(keys, from, math.min(from + PAGE - 1, #keys)))
  end
  return sum
end

-- Makes a set of an owner's index that is the name of one lock, `only`.
local function spread(name, only)
  local left = math.max(call('PTTL', name), 1)
  call('DEL', name)
  call('ZADD', name, string.format('%d', math.ceil(now() / 1000) + left), only)
  call('PEXPIRE', name, left)
end

-- The name of the one lock that an owner's index is; nothing where it is a set, or isn't there.
local function only_of(index) return call('MGET', index)[1] end

-- Forgets that leases of this owner hold these keys, which they did.
local function forget_owner(owner, keys)
  local name = index_of(owner)
  local only = only_of(name)
  if only and #keys == 1 then
    if only == keys[1] then call('DEL', name) else call('ZREM', NS .. '\0p' .. owner, keys[1]) end
    return
  end
  if only then spread(name, only) end
  for from = 1, #keys, PAGE do
    local to = math.min(from + PAGE - 1, #keys)
    local ended = call('ZREM', name, unpack(keys, from, to))
    if ended <= to - from then call('ZREM', NS .. '\0p' .. owner, unpack(keys, from, to)) end
  end
  -- It ends with those that are left, which may be sooner: else one long lease would keep it.
  local _, last = unpack(call('ZRANGE', name, -1, -1, 'WITHSCORES'))
  if last then call('PEXPIRE', name, math.max(last - math.floor(now() / 1000), 0) + 1) end
end

-- Notes that leases of this owner hold these keys, for so long from now. ms '': without an end.
-- What has ended meanwhile is forgotten. A key is in one of the two indexes: it was never in that of
-- those without an end, or taken out of there when it got one.
local function note_owner(owner, keys, ms)
  local name, ends = index_of(owner), nil
  if ms == '' then
    -- One that has ended may still be in the other.
    forget_owner(owner, keys)
    name, ends = NS .. '\0p' .. owner, 'inf'
  else
    if #keys == 1 and call('SET', name, keys[1], 'NX', 'PX', ms) then return end
    local only = only_of(name)
    if only == keys[1] and #keys == 1 then return call('PEXPIRE', name, ms, 'GT') end
    if only then spread(name, only) end
    ends = string.format('%d', math.ceil(now() / 1000) + ms)
  end
  for from = 1, #keys, PAGE / 2 do
    local members = { nil, nil }
    for i = from, math.min(from + PAGE / 2 - 1, #keys) do
      members[#members + 1] = ends
      members[#members + 1] = keys[i]
    end
    call('ZADD', name, unpack(members))
  end
  if ms ~= '' and call('PEXPIRE', name, ms, 'NX') == 0 then
    -- It was there, and ends with the last of its leases.
    call('PEXPIRE', name, ms, 'GT')
    call('ZREMRANGEBYSCORE', name, '-inf', string.format('(%d', math.floor(now() / 1000)))
  end
end

-- Removes holds that were just read. `owner`: whose leases they are; nil for those of no owner. Answers
-- how many there were.
local function free(keys, owner)
  local count = count_all('DEL', keys)
  if owner and count > 0 then forget_owner(owner, keys) end
  return count
end
