-- The usual cases besides, of one key: somebody else holds it; or it is held as the operation expects, and if it is
-- released, nobody waits for it, or the first in its queue waits for it alone. All that has to be known is read
-- before the first write; if it is another case, or another operation, the answer is nil with nothing done.

local function set(key, value, ms)
  if ms == '' then call('SET', key, value) else call('SET', key, value, 'PX', ms) end
end

-- Refuses a request that another hold of ours blocks, or has it wait in the key's queue.
local function refuse(key, manner, request, ms, kind, spare, owner, repeated)
  if manner ~= 'once' and manner ~= 'queue' or repeated == '1' then return nil end
  local values = call('MGET', key, withdrawn_of(request), NS .. '\0t')
  local token, held_kind, holder, held_owner = read(values[1])
  if not token or holder == request or values[2] then return nil end
  if held_kind == 'o' and kind == 'o' and held_owner == owner then return nil end
  if manner == 'queue' then
    queue_at(key, draw(1), table.concat({ request, ms, kind, spare, owner, key }, '\0'))
  end
  local blocking_owner = held_kind == 'o' and held_owner or ''
  return { 'blocked', 1, call('PTTL', key), blocking_owner, 0, newest_of(values[3]) }
end

-- The client of a request.
local function client_of(request) return string.sub(request, 1, 16) end

-- A request for one key, as a queue has it.
local ONE_KEY = '^(%Z*)%z(%Z*)%z(%a)%z(%d+)%z(%Z*)%z(%Z+)$'

-- The first two who wait for a key, and whether the second comes first: a client whose guard ends has had its turn,
-- and all who wait come before the key alone, which it asked for meanwhile. What it asks for together with other
-- keys keeps its place. `origin`: the request of that guard.
local function first_two(key, origin)
  local waiting = call('ZRANGE', queue_of(key), 0, 1)
  local first, second = waiting[1], waiting[2]
  local is_last = origin and second and client_of(first) == client_of(origin) and string.match(first, ONE_KEY)
  return first, second, is_last
end

-- Frees a key that was just read, or sets it for the first who waits for it. `of`: the owner whose lease it
-- was, if it was one's; `origin`: the request of its client's own guard, if it was that. Answers with the reply,
-- and the key where the client of that first one is gone: it is free, and goes to the next one who waits.
local function free_one(key, of, freed, origin)
  local queue, reply = queue_of(key), { 'done', freed }
  local first, second, is_last = first_two(key, origin)
  if not first then
    call('DEL', key)
    if of then forget_owner(of, { key }) end
    return reply
  end

  local request, ms, kind, spare, owner, wanted = string.match(is_last and second or first, ONE_KEY)
  if wanted ~= key then return nil end
  -- First, because it needs no memory: from there on a server that is full refuses none.
  call('ZREM', queue, is_last and second or first)
  if of then forget_owner(of, { key }) end
  -- In place of who held it.
  ms = short(ms)
  local token = draw(1 + spare + (is_last and 1 or 0))
  if is_last then call('ZADD', queue, 'XX', drawn, first) end
  set(key, lock_value(token, kind, request, owner), ms)
  if tell_grant(request, token, ms, key) then return reply end
  call('DEL', key)
  return reply, key
end

local function release_one(key, owner)
  local _, kind, _, holder = read(call('MGET', key)[1])
  -- By its owner; an anonymous lease by nobody.
  if kind ~= (owner == '' and 'a' or 'o') or holder ~= owner then return nil end
  return free_one(key, kind == 'o' and owner, 1)
end

local function release_lease_one(key, or_keep, wanted, origin, spare, ms, holder)
  local token, kind, request, owner = read(call('MGET', key)[1])
  if not token then return nil end
  local is_own = kind == 'g' and origin ~= '' and request == origin
  -- Another hold; or a guard that isn't plainly the client's own.
  if token > wanted then return nil end
  if not is_own and (token < wanted or or_keep or kind == 'g') then return nil end
  if or_keep then
    local one, other = first_two(key)
    if not one or not other and client_of(one) == client_of(origin) then
      local first = draw(spare)
      set(key, lock_value(wanted, 'g', origin, holder), ms)
      return { 'kept', first }
    end
  end
  return free_one(key, kind == 'o' and owner, 0, is_own and origin)
end

local function contended(key, name, ...)
  if name == 'acquire' then return refuse(key, ...) end
  if name == 'release' then return release_one(key, ...) end
  if name == 'release_lease' then return release_lease_one(key, false, ...) end
  if name == 'release_or_keep' then return release_lease_one(key, true, ...) end
end
