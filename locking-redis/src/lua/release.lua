-- release: gives back the keys that an owner holds by leases; without an owner ('') those that any
-- anonymous lease holds. Tries every key; a guard's, another owner's or somebody else's is never freed.
-- All are removed before the first is handed on, so that who waits for several finds them free.
-- Arguments: owner. Answers 1 only if every key was freed.
local function release(keys, args)
  local wanted, freed = args[1], {}
  for i = 1, #keys do
    local token, kind, _, owner = read(get(keys[i]))
    if token and ((wanted == '' and kind == 'a') or (wanted ~= '' and kind == 'o' and owner == wanted)) then
      free(keys[i], kind, owner)
      freed[#freed + 1] = keys[i]
    end
  end
  for i = 1, #freed do hand_on(freed[i]) end
  return { 'done', #freed == #keys and 1 or 0 }
end

-- Whether a hold is the one that a lease means: by its token, which no other hold of the key has; or,
-- for a guard that was passed on inside its process and so has got a newer token than the server knows,
-- by the request that the server granted. A lease with an older token than the server knows was passed on.
local function is_meant(token, request, wanted, origin)
  return token and (token == wanted or (origin ~= '' and request == origin and token < wanted))
end

-- release_lease: gives back exactly these holds. Arguments: token and origin of each key. Answers the
-- number of the first key that wasn't held by it, 0 if there is none.
local function release_lease(keys, args)
  local lost, freed = 0, {}
  for i = 1, #keys do
    local token, kind, request, owner = read(get(keys[i]))
    if is_meant(token, request, args[2 * i - 1], args[2 * i]) then
      free(keys[i], kind, owner)
      freed[#freed + 1] = keys[i]
    elseif lost == 0 then
      lost = i
    end
  end
  for i = 1, #freed do hand_on(freed[i]) end
  return { 'done', lost }
end

-- extend: sets the remaining time of all holds of a lease, or of none. Arguments: ms, owner of the
-- lease, token and origin of each key. A guard that was passed on is written down as its new holder's;
-- never back to an earlier one's, whose last renewal may come late.
-- Answers as release_lease does.
local function extend(keys, args)
  local ms, holder = args[1], args[2]
  local found = {}
  for i = 1, #keys do
    local token, kind, request, owner = read(get(keys[i]))
    if not is_meant(token, request, args[2 * i + 1], args[2 * i + 2]) then return { 'done', i } end
    found[i] = { token = token, kind = kind, request = request, owner = owner }
  end
  for i = 1, #keys do
    local hold = found[i]
    -- First, because it needs no memory: from there on a server that is full refuses none.
    redis.call('PEXPIRE', keys[i], ms)
    local renamed = hold.token == args[2 * i + 1] and hold.owner ~= holder
    if args[2 * i + 2] ~= '' and (renamed or hold.token < args[2 * i + 1]) then
      hold.owner = holder
      redis.call('SET', keys[i], lock_value(args[2 * i + 1], hold), 'KEEPTTL')
    elseif hold.kind == 'o' then
      note_owner(hold.owner, { keys[i] }, ms)
    end
  end
  return { 'done', 0 }
end

-- rename: writes down who holds a key that was passed on inside a process; its time stays. Arguments:
-- origin, token, owner. What comes late, after a later holder was written down, changes nothing.
local function rename(keys, args)
  local token, kind, request = read(get(keys[1]))
  if token and request == args[1] and token <= args[2] then
    local hold = { kind = kind, request = request, owner = args[3] }
    redis.call('SET', keys[1], lock_value(args[2], hold), 'KEEPTTL')
  end
  return { 'done' }
end
