-- release: gives back the keys that an owner holds by leases; without an owner ('') those that any
-- anonymous lease holds. Tries every key; a guard's, another owner's or somebody else's is never freed.
-- All are removed before the first is handed on, so that who waits for several finds them free.
-- Arguments: owner. Answers 1 only if every key was freed.
local function release(keys, args)
  local wanted, freed = args[1], {}
  local values = get_all(keys)
  for i = 1, #keys do
    local token, kind, _, owner = read(values[i])
    if token and ((wanted == '' and kind == 'a') or (wanted ~= '' and kind == 'o' and owner == wanted)) then
      freed[#freed + 1] = keys[i]
    end
  end
  free(freed, wanted ~= '' and wanted or nil)
  hand_on_all(freed)
  return { 'done', #freed == #keys and 1 or 0 }
end

-- Whether a hold is the one that a lease means: by its token, which no other hold of the key has; or,
-- for a guard that was passed on inside its process and so has got a newer token than the server knows,
-- by the request that the server granted. A lease with an older token than the server knows was passed on.
--
-- origin: that request; the name of the client that asks, where it knows of none; '' for the keys of a lease on
-- several, which are never passed on. A guard on one key is only its own client's to end: it may have been passed
-- on with this token still known here, and nobody else can tell.
local function is_meant(value, wanted, origin)
  local token, kind, request = read(value)
  if not token then return false end
  if token ~= wanted then return request == origin and origin ~= '' and token < wanted end
  return kind ~= 'g' or origin == '' or client_of(request) == client_of(origin)
end

-- release_lease: gives back exactly these holds. Arguments: token and origin of each key. Answers the
-- number of the first key that wasn't held by it, 0 if there is none.
--
-- release_or_keep: the same for one guard of the client's own, unless nobody waits for the key but that
-- client's own line, which has one place in the queue: then the hold's time is set anew, it is written down
-- as this holder's, which is the last one so far, and the answer is the first of new tokens for those to
-- whom it is passed on. Arguments besides: how many tokens, ms, owner. Where it is kept, contended.lua has
-- answered already.
local function release_lease(keys, args)
  local lost, freed = 0, {}
  local values = get_all(keys)
  for i = 1, #keys do
    if is_meant(values[i], args[2 * i - 1], args[2 * i]) then
      local _, kind, request, owner = read(values[i])
      free({ keys[i] }, kind == 'o' and owner or nil)
      if kind == 'g' and #keys == 1 and request == args[2] then step_back(keys[1], request) end
      freed[#freed + 1] = keys[i]
    elseif lost == 0 then
      lost = i
    end
  end
  hand_on_all(freed)
  return { 'done', lost }
end
