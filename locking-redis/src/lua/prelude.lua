-- What every operation builds on: how a lock looks on the server, and the fencing tokens.
--
-- Keys of a namespace NS (no lock's key has a NUL in it, so none of the companions is a lock):
--   NS .. key              the lock, a string: lk1|<token>|<kind>|<request>|<owner>
--   NS .. '\0t'            the greatest token ever given, 16 digits: microseconds of the server's clock
--   NS .. '\0q' .. key     the requests that wait for a key, first come first: a sorted set, by their seats,
--                          which are numbers of the tokens' counter
--   NS .. '\0o' .. owner   the locks that an owner's leases hold until some moment: a sorted set, by that
--                          moment, that ends no earlier than the last of them; or, of one alone, a string,
--                          its name: an owner has rarely more, and a set takes two commands more
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
-- What a script defines it defines anew in each call, and that costs as much as what it does. So this file and
-- usual.lua have just what is needed in the usual case, with few functions and few commands; the rest is in a
-- function, `define`, that is called where it is needed, and most of that in one more, `others`.
local NS, call = ARGV[1], redis.call

-- token, kind, request, owner; nothing for a value that isn't ours.
local function read(value)
  if value then return string.match(value, '^lk1|(%d+)|(%a)|(%w*)|(.*)$') end
end

-- The server's clock in microseconds: the same moment throughout one script. Numbers of this size are
-- exact in Lua (below 2^53 until the year 2255).
local clock
local function now()
  if not clock then
    local time = call('TIME')
    clock = time[1] * 1000000 + time[2]
  end
  return clock
end

-- The last token that this call drew, and the last that it may draw: as the counter says.
local drawn, reserved

-- The first of `count` new tokens, as text: greater than every one before, also after the counter was
-- lost, because the clock went on. Called only when the keys are known to be granted. The first one of a call
-- sets the counter for as many as its operations may want; what it doesn't use is lost, but no more: the counter
-- mustn't outrun the clock. Texts of 16 digits compare as their numbers do.
local function draw(count)
  local first, room = drawn and drawn + 1 or now(), math.max(count, #ARGV - 1)
  if not drawn or first + count - 1 > reserved then
    reserved = first + room - 1
    local last = call('SET', NS .. '\0t', string.format('%016d', reserved), 'GET')
    if not drawn and last and tonumber(last) >= first then
      -- Another call within these microseconds has drawn them, or the clock was set back.
      first = last + 1
      reserved = first + room - 1
      call('SET', NS .. '\0t', string.format('%016d', reserved))
    end
  end
  drawn = first + count - 1
  return string.format('%016d', first)
end
