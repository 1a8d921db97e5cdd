-- What every operation builds on: how a lock looks on the server, and the fencing tokens.
--
-- Keys of a namespace NS (no lock's key has a NUL in it, so none of the companions is a lock):
--   NS .. key              the lock, a string: lk1|<token>|<kind>|<request>|<owner>
--   NS .. '\0t'            the greatest token ever given, 16 digits: microseconds of the server's clock
--   NS .. '\0q' .. key     the requests that wait for a key, first come first (a list)
--   NS .. '\0o' .. owner   the locks that an owner's leases hold (a sorted set, by the end of the lease)
--   NS .. '\0x' .. request a request that was taken back after its answer was lost
--   NS .. '\0m' .. request how often a waiting request for several keys was moved on
-- All but the counter end by themselves.
--
-- kind: 'o' a lease of an owner, 'a' an anonymous lease, 'g' a guard, 'r' a key kept for a moment for a
-- request for several keys. A value of another form is somebody else's lock: it blocks, and nothing
-- here ever changes it. request: the 16 characters of the client that asked, and a count.
--
-- A script runs alone: between two of its commands nothing else happens on the server, and no key
-- expires. That is what makes each operation below atomic.
local NS, ME = ARGV[1], ARGV[2]

-- How long a grant from the queue lasts until its client confirms it, in ms: what a dead or stopped
-- client at the head of a queue costs those behind it.
local TERM = 400
-- How long a queue is kept that nobody asks about any more, in ms. Who waits asks twice a second.
local QUEUE_TERM = 60000
-- How long it is remembered that a request was taken back, in ms: longer than any command is under way.
local WITHDRAWN_TERM = 10000
-- After how many moves a request for several keys has the free ones kept for it, and for how long in ms.
local MOVES, KEPT_TERM = 16, 25

local COUNTER = NS .. '\0t'
local function queue_of(key) return NS .. '\0q' .. string.sub(key, #NS + 1) end
local function index_of(owner) return NS .. '\0o' .. owner end
local function withdrawn_of(request) return NS .. '\0x' .. request end
local function moves_of(request) return NS .. '\0m' .. request end
local function client_of(request) return string.sub(request, 1, 16) end
local function tell(request, message)
  return redis.call('PUBLISH', NS .. '\0c' .. client_of(request), message)
end

-- The server's clock in microseconds, the same throughout one script.
local clock
local function now()
  if not clock then
    local time = redis.call('TIME')
    clock = time[1] * 1000000 + time[2]
  end
  return clock
end

-- A lock's value; '' for a key of another type, which is somebody else's too.
local function get(key)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' then return '' end
  return value
end

-- The values of many keys at once, false for one that is missing or of another type. In pages: Lua's
-- stack bounds how many arguments a call has.
local function get_all(names)
  if #names <= 1000 then return redis.call('MGET', unpack(names)) end
  local values = {}
  for from = 1, #names, 1000 do
    local page = redis.call('MGET', unpack(names, from, math.min(from + 999, #names)))
    for i = 1, #page do values[from + i - 1] = page[i] end
  end
  return values
end

-- token, kind, request, owner; nothing for a value that isn't ours.
local function read(value)
  if value then return string.match(value, '^lk1|(%d+)|(%a)|(%w*)|(.*)$') end
end

local function lock_value(token, e)
  return 'lk1|' .. token .. '|' .. e.kind .. '|' .. e.request .. '|' .. e.owner
end

-- The first of `count` new tokens: greater than every one before, also after the counter was lost,
-- because the clock went on. Called only when the keys are known to be granted. Numbers of this size
-- are exact in Lua (below 2^53 until the year 2255). `last`: the counter, where it was just read.
local function draw(count, last)
  local token = now()
  last = tonumber(last or redis.call('GET', COUNTER) or 0) or 0
  if last >= token then token = last + 1 end
  redis.call('SET', COUNTER, string.format('%016.0f', token + count - 1))
  return string.format('%016.0f', token)
end

-- Sets a key that is free. False for one that holds a type of somebody else's. ms '': no expiry.
local function take(key, token, e, ms)
  if ms == '' then return redis.call('SET', key, lock_value(token, e), 'NX') end
  return redis.call('SET', key, lock_value(token, e), 'NX', 'PX', ms)
end

-- Sets the index's own end to that of its last lease; without one, if a lease has none.
local function settle_index(name)
  local last = redis.call('ZREVRANGE', name, 0, 0, 'WITHSCORES')
  if last[2] and last[2] ~= 'inf' then redis.call('PEXPIREAT', name, last[2]) end
end

-- Notes that leases of this owner hold these keys for so long. What has expired meanwhile is forgotten.
local function note_owner(owner, keys, ms)
  local name = index_of(owner)
  local left = redis.call('PTTL', name)
  local ends = '+inf'
  if ms ~= '' then ends = string.format('%.0f', math.ceil(now() / 1000) + ms) end
  if left ~= -2 then
    redis.call('ZREMRANGEBYSCORE', name, '-inf', string.format('(%.0f', now() / 1000))
  end
  for i = 1, #keys do redis.call('ZADD', name, ends, keys[i]) end
  if ms == '' then
    redis.call('PERSIST', name)
  elseif left == -1 then
    settle_index(name)
  elseif left < tonumber(ms) then
    redis.call('PEXPIRE', name, ms)
  end
end

local function forget_owner(owner, key)
  local name = index_of(owner)
  redis.call('ZREM', name, key)
  if redis.call('PTTL', name) == -1 then settle_index(name) end
end

-- Removes a hold that was just read.
local function free(key, kind, owner)
  redis.call('DEL', key)
  if kind == 'o' then forget_owner(owner, key) end
end
