-- The usual case of several keys: each is free or held as the operation expects, and nobody waits for it. All that
-- has to be known is read before the first write; if it is another case, or another operation, the answer is nil
-- with nothing done.

local function acquire_several(keys, args)
  local manner, request, ms, kind, owner = args[1], args[2], args[3], args[4], args[6]
  if manner ~= 'once' and manner ~= 'queue' or args[7] == '1' then return nil end
  local names = { withdrawn_of(request) }
  for i = 1, #keys do
    names[2 * i] = keys[i]
    names[2 * i + 1] = queue_of(keys[i])
  end
  if call('EXISTS', unpack(names)) > 0 then return nil end

  local token = draw(1 + args[5])
  local value = lock_value(token, kind, request, owner)
  for i = 1, #keys do set(keys[i], value, ms) end
  if kind == 'o' then note_owner(owner, keys, ms) end
  return { 'taken', token }
end

-- by_owner: release, rather than release_lease.
local function release_several(keys, by_owner, args)
  local values, queues, of = call('MGET', unpack(keys)), { nil }, nil
  for i = 1, #keys do
    local wanted, origin = args[2 * i - 1], args[2 * i]
    queues[i] = queue_of(keys[i])
    -- The keys of one lease have one value, which is read once.
    local is_as_first = i > 1 and values[i] == values[1]
      and (by_owner or wanted == args[1] and origin == args[2])
    if not is_as_first then
      local token, kind, request, owner = read(values[i])
      if not token then return nil end
      if by_owner then
        -- By its owner; an anonymous lease by nobody.
        if kind ~= (args[1] == '' and 'a' or 'o') or owner ~= args[1] then return nil end
      else
        local is_own = kind == 'g' and origin ~= '' and request == origin
        if token > wanted or token < wanted and not is_own then return nil end
      end
      if kind == 'o' then
        if of and of ~= owner then return nil end
        of = owner
      end
    end
  end
  if call('EXISTS', unpack(queues)) > 0 then return nil end
  call('DEL', unpack(keys))
  if of then forget_owner(of, keys) end
  return { 'done', by_owner and 1 or 0 }
end

local function several(keys, name, args)
  if #keys > PAGE / 4 then return nil end
  if name == 'acquire' then return acquire_several(keys, args) end
  if name == 'release' then return release_several(keys, true, args) end
  if name == 'release_lease' then return release_several(keys, false, args) end
end
