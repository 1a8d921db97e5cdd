-- newest: the greatest token given so far. What is held by a greater one was granted after this moment. Where the
-- counter is lost that is the server's clock.
local function newest()
  return { 'done', newest_of(call('GET', NS .. '\0t') or string.format('%016d', now())) }
end

-- Whether a release_all may free the hold with this value: granted no later than token `limit`, a lease
-- or, if asked for, a guard. Tokens have the same number of digits. Answers its kind, request and owner.
local function is_covered(value, limit, running, wanted)
  local token, kind, request, owner = read(value)
  if not token or kind == 'r' or token > limit then return nil end
  if wanted ~= '' and owner ~= wanted or kind == 'g' and running ~= '1' then return nil end
  if wanted ~= '' and kind == 'a' then return nil end
  return kind, request, owner
end

-- free_all: frees those of these keys that the scope covers. Arguments: limit, running, owner or ''.
-- Guards among them are told. Answers how many; a scan may name a key twice.
local function free_all(keys, args)
  local freed, values = {}, get_all(keys)
  for i = 1, #keys do
    local kind, request, owner = is_covered(values[i], args[1], args[2], args[3])
    if kind and free({ keys[i] }, kind == 'o' and owner or nil) == 1 then
      if kind == 'g' then tell(request, 'revoked\0' .. request .. '\0' .. keys[i]) end
      freed[#freed + 1] = keys[i]
    end
  end
  hand_on_all(freed)
  return { 'done', #freed }
end

-- A page of what the indexes of an owner name: its leases with an end, then those without.
local function owned(owner, skip, length)
  local name = index_of(owner)
  local only = only_of(name)
  if only then spread(name, only) end
  local keys = call('ZRANGE', name, skip, skip + length - 1)
  if #keys == length then return keys end
  local ending = #keys
  if ending == 0 and skip > 0 then skip = skip - call('ZCARD', name) else skip = 0 end
  local endless = call('ZRANGE', NS .. '\0p' .. owner, skip, skip + length - ending - 1)
  for i = 1, #endless do keys[ending + i] = endless[i] end
  return keys
end

-- free_owned: the same for the leases of one owner, found by its indexes, a page at a time: what it costs
-- grows with what it frees. Arguments: limit, owner, how many of them to skip, page length.
-- Answers how many it freed, and how many of the page it left: those are skipped next time; -1: the
-- page was the last.
local function free_owned(_, args)
  local limit, owner, skip, length = args[1], args[2], tonumber(args[3]), tonumber(args[4])
  local freed, ended, left = {}, {}, 0
  local keys = owned(owner, skip, length)
  local values = get_all(keys)
  for i = 1, #keys do
    if is_covered(values[i], limit, '0', owner) then
      freed[#freed + 1] = keys[i]
    else
      local token, kind, _, holder = read(values[i])
      if token and kind == 'o' and holder == owner then
        left = left + 1
      else
        ended[#ended + 1] = keys[i]
      end
    end
  end
  forget_owner(owner, ended)
  free(freed, owner)
  hand_on_all(freed)
  return { 'done', #freed, #keys < length and -1 or left }
end

-- inspect: value and remaining ms of each key; '' for one that isn't held.
local function inspect(keys)
  local reply = { 'done' }
  for i = 1, #keys do
    reply[2 * i] = get(keys[i]) or ''
    reply[2 * i + 1] = call('PTTL', keys[i])
  end
  return reply
end
