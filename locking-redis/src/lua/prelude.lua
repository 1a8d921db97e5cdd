-- What every operation builds on: how a lock looks on the server, and the fencing tokens.
--
-- Keys of a namespace NS (no lock's key has a NUL in it, so none of the companions is a lock):
--   NS .. key              the lock, a string: lk1|<token>|<kind>|<request>|<owner>
--   NS .. '\0t'            the greatest token ever given, 16 digits: microseconds of the server's clock
--   NS .. '\0q' .. key     the requests that wait for a key, first come first (a list)
--   NS .. '\0o' .. owner   the locks that an owner's leases hold until some moment (a sorted set, by that
--                          moment); it ends no earlier than the last of them
--   NS .. '\0p' .. owner   those that its leases without an expiry hold (a sorted set)
--   NS .. '\0x' .. request a request that takes nothing any more: it was taken back, or was granted,
--                          after an answer to it was lost
--   NS .. '\0m' .. request how often a waiting request for several keys was moved on
-- All but the counter, and the locks and index of leases without an expiry, end by themselves.
--
-- kind: 'o' a lease of an owner, 'a' an anonymous lease, 'g' a guard, 'r' a key kept for a moment for a
-- request for several keys. A value of another form is somebody else's lock: it blocks, and nothing
-- here ever changes it. request: the 16 characters of the client that asked, and a count.
--
-- A script runs alone: between two of its commands nothing else happens on the server, and no key
-- expires. That is what makes each operation below atomic.
--
-- What a script defines it defines anew in each call, and each command that it gives costs a microsecond
-- or two besides what the command does. So this file and plain.lua have just what is needed in the usual
-- case, with few functions and few commands; the rest is in a function, `others`, that is called where it is
-- needed.
local NS = ARGV[1]

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

-- token, kind, request, owner; nothing for a value that isn't ours.
local function read(value)
  if value then return string.match(value, '^lk1|(%d+)|(%a)|(%w*)|(.*)$') end
end
local function lock_value(token, kind, request, owner)
  return 'lk1|' .. token .. '|' .. kind .. '|' .. request .. '|' .. owner
end

-- Tells the client of a request. Answers how many heard: 0 if the client is gone.
local function tell(request, message)
  return redis.call('PUBLISH', NS .. '\0c' .. string.sub(request, 1, 16), message)
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

-- The server's clock in microseconds: the same moment throughout one script. Numbers of this size are
-- exact in Lua (below 2^53 until the year 2255).
local clock
local function now()
  if not clock then
    local time = redis.call('TIME')
    clock = time[1] * 1000000 + time[2]
  end
  return clock
end

-- The last token that this call drew.
local drawn

-- The first of `count` new tokens, as text: greater than every one before, also after the counter was
-- lost, because the clock went on. Called only when the keys are known to be granted.
-- Texts of 16 digits compare as their numbers do.
local function draw(count)
  local first = now()
  if drawn and drawn >= first then first = drawn + 1 end
  drawn = first + count - 1
  local last = redis.call('SET', NS .. '\0t', string.format('%016d', drawn), 'GET')
  if last and tonumber(last) >= first then
    -- Another call within these microseconds has drawn them, or the clock was set back.
    first = last + 1
    drawn = first + count - 1
    redis.call('SET', NS .. '\0t', string.format('%016d', drawn))
  end
  return string.format('%016d', first)
end

-- Forgets that leases of this owner hold these keys, which they did.
local function forget_owner(owner, keys)
  for from = 1, #keys, PAGE do
    local to = math.min(from + PAGE - 1, #keys)
    local ended = redis.call('ZREM', NS .. '\0o' .. owner, unpack(keys, from, to))
    if ended <= to - from then redis.call('ZREM', NS .. '\0p' .. owner, unpack(keys, from, to)) end
  end
end

-- Notes that leases of this owner hold these keys, for so long from now. ms '': without an end.
-- What has ended meanwhile is forgotten. A key is in one of the two indexes: it was never in that of
-- those without an end, or taken out of there when it got one.
local function note_owner(owner, keys, ms)
  local name, ends = NS .. '\0o' .. owner, nil
  if ms == '' then
    -- One that has ended may still be in the other.
    forget_owner(owner, keys)
    name, ends = NS .. '\0p' .. owner, 'inf'
  else
    ends = string.format('%d', math.ceil(now() / 1000) + ms)
  end
  for from = 1, #keys, PAGE / 2 do
    local members = { nil, nil }
    for i = from, math.min(from + PAGE / 2 - 1, #keys) do
      members[#members + 1] = ends
      members[#members + 1] = keys[i]
    end
    redis.call('ZADD', name, unpack(members))
  end
  if ms ~= '' and redis.call('PEXPIRE', name, ms, 'NX') == 0 then
    -- It was there, and ends with the last of its leases.
    redis.call('PEXPIRE', name, ms, 'GT')
    redis.call('ZREMRANGEBYSCORE', name, '-inf', string.format('(%d', math.floor(now() / 1000)))
  end
end
