-- The usual case: one key, that nobody waits for. It is free and is acquired, or it is given back by who holds
-- it: the owner of its one lease, a request without an owner, or the client whose guard it is. All that has to be
-- known is read before the first write; in another case the answer is nil with nothing done, and it is carried
-- out as the other files say, where arguments and answers are explained, too; but here the answer is one text, which
-- the server sends in less time than a list.

-- Answers with the reply, and the owner in whose index the lease is still to be noted: it isn't its only one.
local function acquire_free(key, manner, request, ms, kind, spare, owner, repeated)
  if manner ~= 'once' and manner ~= 'queue' or repeated == '1' then return nil end
  if call('EXISTS', key, NS .. '\0q' .. key, NS .. '\0x' .. request) > 0 then return nil end

  local token = draw(1 + spare)
  local value = 'lk1|' .. token .. '|' .. kind .. '|' .. request .. '|' .. owner
  if ms == '' then call('SET', key, value) else call('SET', key, value, 'PX', ms) end
  local is_noted = kind ~= 'o' or ms ~= '' and call('SET', NS .. '\0o' .. owner, key, 'NX', 'PX', ms)
  return 'taken ' .. token, not is_noted and owner
end

local function release_owned(key, owner)
  local index = NS .. '\0o' .. owner
  local values = call('MGET', key, index)
  local _, kind, _, holder = read(values[1])
  if holder ~= owner then return nil end
  local is_only = kind == 'o' and values[2] == key
  if not is_only and (kind ~= 'a' or owner ~= '') or call('EXISTS', NS .. '\0q' .. key) == 1 then return nil end
  if is_only then call('DEL', key, index) else call('DEL', key) end
  return 'done 1'
end

local function release_guard(key, token, origin)
  local held, kind, request = read(call('MGET', key)[1])
  if kind ~= 'g' or request ~= origin or held > token or call('EXISTS', NS .. '\0q' .. key) == 1 then return nil end
  call('DEL', key)
  return 'done 0'
end

local usual = { acquire = acquire_free, release = release_owned, release_lease = release_guard }
