-- The plain case of acquire, release, release_lease and release_or_keep: each key is free or held as the
-- operation expects, and nobody waits for it. Or there is one key, and somebody else holds it; or, when it is
-- released, the first in its queue waits for it alone. All that has to be known is read before the first write; if it is
-- another case, or another operation, the answer is nil with nothing done, and it is carried out as its own
-- file says, where its arguments and answers are explained, too.

-- Refuses a request for one key that another hold of ours blocks, or has it wait in the key's queue.
local function refuse(key, args)
  local manner, request, ms, kind, spare, owner = unpack(args)
  local values = redis.call('MGET', key, withdrawn_of(request), NS .. '\0t')
  local token, held_kind, holder, held_owner = read(values[1])
  if not token or holder == request or values[2] then return nil end
  if held_kind == 'o' and kind == 'o' and held_owner == owner then return nil end
  if manner == 'queue' then
    local queue = queue_of(key)
    redis.call('RPUSH', queue, table.concat({ request, ms, kind, spare, owner, key }, '\0'))
    redis.call('PEXPIRE', queue, QUEUE_TERM)
  end
  local blocking_owner = held_kind == 'o' and held_owner or ''
  return { 'blocked', 1, redis.call('PTTL', key), blocking_owner, 0, values[3] or '0' }
end

-- Answers with the reply, and a key that became free for the next one who waits for it.
local function plain(name, keys, args)
  local count = #keys
  if count > PAGE / 4 then return nil end

  if name == 'acquire' then
    local manner, request, ms, kind, owner = args[1], args[2], args[3], args[4], args[6]
    if manner ~= 'once' and manner ~= 'queue' or args[7] == '1' then return nil end
    local names = { withdrawn_of(request), keys[1], queue_of(keys[1]) }
    for i = 2, count do
      names[2 * i] = keys[i]
      names[2 * i + 1] = queue_of(keys[i])
    end
    if redis.call('EXISTS', unpack(names)) > 0 then
      return count == 1 and refuse(keys[1], args) or nil
    end

    local token = draw(1 + args[5])
    local value = lock_value(token, kind, request, owner)
    for i = 1, count do
      if ms == '' then redis.call('SET', keys[i], value) else redis.call('SET', keys[i], value, 'PX', ms) end
    end
    if kind == 'o' then note_owner(owner, keys, ms) end
    return { 'taken', token }

  elseif name == 'release' or name == 'release_lease' or name == 'release_or_keep' then
    local values, queues, of = redis.call('MGET', unpack(keys)), { nil }, nil
    for i = 1, count do
      local wanted, origin = args[2 * i - 1], args[2 * i]
      queues[i] = queue_of(keys[i])
      -- The keys of one lease have one value, which is read once.
      local is_as_first = i > 1 and values[i] == values[1]
        and (name == 'release' or wanted == args[1] and origin == args[2])
      if not is_as_first then
        local token, kind, request, owner = read(values[i])
        if not token then return nil end
        if name == 'release' then
          -- By its owner; an anonymous lease by nobody.
          if kind ~= (args[1] == '' and 'a' or 'o') or owner ~= args[1] then return nil end
        else
          local is_own = kind == 'g' and origin ~= '' and request == origin
          -- Another hold; or another client's guard, and that client is told.
          if token > wanted then return nil end
          if not is_own and (token < wanted or name == 'release_or_keep' or kind == 'g' and count == 1) then
            return nil
          end
        end
        if kind == 'o' then
          if of and of ~= owner then return nil end
          of = owner
        end
      end
    end
    if name == 'release_or_keep' and not redis.call('LINDEX', queues[1], 1) then
      local waiting = redis.call('LINDEX', queues[1], 0)
      if not waiting or string.sub(waiting, 1, 16) == string.sub(args[2], 1, 16) then
        local first, value, ms = draw(args[3]), lock_value(args[1], 'g', args[2], args[5]), args[4]
        if ms == '' then redis.call('SET', keys[1], value) else redis.call('SET', keys[1], value, 'PX', ms) end
        return { 'kept', first }
      end
    end
    local reply = { 'done', name == 'release' and 1 or 0 }
    if redis.call('EXISTS', unpack(queues)) == 0 then
      redis.call('DEL', unpack(keys))
      if of then forget_owner(of, keys) end
      return reply
    end

    if count > 1 then return nil end
    local request, ms, kind, spare, owner, key = string.match(
      redis.call('LINDEX', queues[1], 0), '^(%Z*)%z(%Z*)%z(%a)%z(%d+)%z(%Z*)%z(%Z+)$'
    )
    if key ~= keys[1] then return nil end
    -- First, because it needs no memory: from there on a server that is full refuses none.
    redis.call('LPOP', queues[1])
    if of then forget_owner(of, keys) end
    -- In place of who held it. If its client is gone, `hand_on` goes on with the next one.
    ms = short(ms)
    local token = draw(1 + spare)
    redis.call('SET', key, lock_value(token, kind, request, owner), 'PX', ms)
    if tell_grant(request, token, ms, key) then return reply end
    redis.call('DEL', key)
    return reply, key
  end
end
