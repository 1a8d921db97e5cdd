-- The plain case of acquire, release and release_lease: nobody waits for any of the keys, and each is free
-- or held as the operation expects. All that has to be known is read before the first write; if it is
-- another case, or another operation, the answer is nil with nothing done, and it is carried out as its
-- own file says, where its arguments and answers are explained, too.
local function plain(name, keys, args)
  local count = #keys
  if count > PAGE / 4 then return nil end

  if name == 'acquire' then
    local manner, request, ms, kind, owner = args[1], args[2], args[3], args[4], args[6]
    if manner ~= 'once' and manner ~= 'queue' or args[7] == '1' then return nil end
    local names = { NS .. '\0x' .. request, keys[1], NS .. '\0q' .. keys[1] }
    for i = 2, count do
      names[2 * i] = keys[i]
      names[2 * i + 1] = NS .. '\0q' .. keys[i]
    end
    if redis.call('EXISTS', unpack(names)) > 0 then return nil end

    local token = draw(1 + args[5])
    local value = 'lk1|' .. token .. '|' .. kind .. '|' .. request .. '|' .. owner
    local reply = { 'granted', token, 't' }
    for i = 1, count do
      if ms == '' then redis.call('SET', keys[i], value) else redis.call('SET', keys[i], value, 'PX', ms) end
      reply[2 * i] = token
      reply[2 * i + 1] = 't'
    end
    if kind == 'o' then note_owner(owner, keys, ms) end
    return reply

  elseif name == 'release' or name == 'release_lease' then
    local values, queues, of = redis.call('MGET', unpack(keys)), { nil }, nil
    for i = 1, count do
      if not values[i] then return nil end
      local token, kind, owner = string.match(values[i], '^lk1|(%d+)|(%a)|%w*|(.*)$')
      if name == 'release' then
        -- By its owner; an anonymous lease by nobody.
        if kind ~= (args[1] == '' and 'a' or 'o') or owner ~= args[1] then return nil end
      elseif token ~= args[2 * i - 1] or kind == 'g' and count == 1 and args[2] == '' then
        -- Another hold; or another client's guard, and that client is told.
        return nil
      end
      if kind == 'o' then
        if of and of ~= owner then return nil end
        of = owner
      end
      queues[i] = NS .. '\0q' .. keys[i]
    end
    if redis.call('EXISTS', unpack(queues)) > 0 then return nil end

    redis.call('DEL', unpack(keys))
    if of then forget_owner(of, keys) end
    return { 'done', name == 'release' and 1 or 0 }
  end
end
