-- What every operation builds on: how a lock looks on the server, and the fencing tokens.
--
-- Keys of a namespace NS (no lock's key has a NUL in it, so none of the companions is a lock):
--   NS .. key              the lock, a string: lk1|<token>|<kind>|<request>|<owner>
--   NS .. '\0t'            the greatest token ever given, 16 digits: microseconds of the server's clock
--   NS .. '\0q' .. key     the requests that wait for a key, first come first (a list)
--   NS .. '\0o' .. owner   the locks that an owner's leases hold (a sorted set, by the end of the lease)
--   NS .. '\0x' .. request a request that takes nothing any more: it was taken back, or was granted,
--                          after an answer to it was lost
--   NS .. '\0m' .. request how often a waiting request for several keys was moved on
-- All but the counter end by themselves.
--
-- kind: 'o' a lease of an owner, 'a' an anonymous lease, 'g' a guard, 'r' a key kept for a moment for a
-- request for several keys. A value of another form is somebody else's lock: it blocks, and nothing
-- here ever changes it. request: the 16 characters of the client that asked, and a count.
--
-- A script runs alone: between two of its commands nothing else happens on the server, and no key
-- expires. That is what makes each operation below atomic.
--
-- What a script defines it defines anew in each call, which costs as much as half a command a function.
-- So the files up to release.lua have just what is needed where nobody waits; the rest is in a function,
-- `others`, that is called where it is needed.
local NS = ARGV[1]

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

-- The server's clock in microseconds, the same throughout one script: as text of 16 digits, and as a
-- number. Numbers of this size are exact in Lua (below 2^53 until the year 2255).
local clock
local function now()
  if not clock then
    local time = redis.call('TIME')
    clock = time[1] .. string.sub('00000' .. time[2], -6)
  end
  return clock, tonumber(clock)
end

-- What a command answers for many keys at once, as a list or, of one that counts, the sum. In pages:
-- Lua's stack bounds how many arguments a call has.
local PAGE = 1000
local function get_all(keys)
  if #keys == 0 then return {} end
  if #keys <= PAGE then return redis.call('MGET', unpack(keys)) end
  local values = {}
  for from = 1, #keys, PAGE do
    local page = redis.call('MGET', unpack(keys, from, math.min(from + PAGE - 1, #keys)))
    for i = 1, #page do values[from + i - 1] = page[i] end
  end
  return values
end
local function count_all(command, keys)
  local sum = 0
  for from = 1, #keys, PAGE do
    sum = sum + redis.call(command, unpack(keys, from, math.min(from + PAGE - 1, #keys)))
  end
  return sum
end

-- token, kind, request, owner; nothing for a value that isn't ours.
local function read(value)
  if value then return string.match(value, '^lk1|(%d+)|(%a)|(%w*)|(.*)$') end
end

local function lock_value(token, kind, request, owner)
  return 'lk1|' .. token .. '|' .. kind .. '|' .. request .. '|' .. owner
end

-- The first of `count` new tokens: greater than every one before, also after the counter was lost,
-- because the clock went on. Called only when the keys are known to be granted. `last`: the counter,
-- where it was just read. Texts of 16 digits compare as their numbers do.
local function draw(count, last)
  local first, token = now()
  last = last or redis.call('GET', COUNTER)
  if last and last >= first then
    token = tonumber(last) + 1
    first = string.format('%016.0f', token)
  end
  redis.call('SET', COUNTER, count == 1 and first or string.format('%016.0f', token + count - 1))
  return first
end

-- Sets the index's own end to that of its last lease; without one, if a lease has none.
local function settle_index(name)
  local last = redis.call('ZREVRANGE', name, 0, 0, 'WITHSCORES')
  if last[2] and last[2] ~= 'inf' then redis.call('PEXPIREAT', name, last[2]) end
end

-- Notes that leases of this owner hold these keys for so long. What has expired meanwhile is forgotten.
local function note_owner(owner, keys, ms)
  local name = index_of(owner)
  local left, _, micros = redis.call('PTTL', name), now()
  local ends = ms == '' and '+inf' or string.format('%.0f', math.ceil(micros / 1000) + ms)
  if left ~= -2 then
    redis.call('ZREMRANGEBYSCORE', name, '-inf', string.format('(%.0f', micros / 1000))
  end
  for from = 1, #keys, PAGE do
    local members = {}
    for i = from, math.min(from + PAGE - 1, #keys) do
      members[#members + 1] = ends
      members[#members + 1] = keys[i]
    end
    redis.call('ZADD', name, unpack(members))
  end
  if ms == '' then
    redis.call('PERSIST', name)
  elseif left == -1 then
    settle_index(name)
  elseif left < tonumber(ms) then
    redis.call('PEXPIRE', name, ms)
  end
end

-- Removes holds that were just read. `owner`: whose leases they are; nil for those of no owner. Answers
-- how many there were.
local function free(keys, owner)
  local count = count_all('DEL', keys)
  if not owner or count == 0 then return count end
  local name = index_of(owner)
  for from = 1, #keys, PAGE do
    redis.call('ZREM', name, unpack(keys, from, math.min(from + PAGE - 1, #keys)))
  end
  if redis.call('PTTL', name) == -1 then settle_index(name) end
  return count
end

-- Everything that isn't needed where nobody waits, by its name; made once in a call, if at all.
local others, made
local function other(name)
  made = made or others()
  return made[name]
end

-- Hands on keys that were just freed, all of them: who waits for several finds them free. Where nobody
-- waits for any, that is all there is to it.
local function hand_on_all(keys)
  local queues = {}
  for i = 1, #keys do queues[i] = queue_of(keys[i]) end
  if count_all('EXISTS', queues) == 0 then return end
  local hand_on = other('hand_on')
  for i = 1, #keys do hand_on(keys[i]) end
end
