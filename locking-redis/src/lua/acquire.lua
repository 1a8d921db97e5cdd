-- acquire: takes all keys of a request, or none. Arguments: manner, request, ms, kind, spare, owner,
-- repeated; and if that is '1', for how many ms a copy may still be on its way.
--
-- manner 'once'    leaves nothing behind if a key is held
--        'queue'   then waits in the queue of the first key that blocks
--        'again'   asks once more, keeping its place: first in the queue if it has lost it, because it
--                  was popped by a grant that its client couldn't hear
--        'reenter' only where the owner's lease holds every key, and nobody is still to hear of it
--
-- Answers granted, and per key its token and how it was got ('t' taken, 'r' re-entered); or taken, and the
-- token that all keys were taken with (in the usual case); or blocked, with the number of the first key
-- that blocks, its remaining ms (-1: no expiry), the owner whose lease blocks, whether the holder is
-- somebody else's software and this request one of those to look after it, and the greatest token given so far.
--
-- Asking twice is asking once: what the request holds already is answered as taken. A request that was
-- taken back is never granted, also when it arrives after that. repeated '1': the answer to an earlier
-- copy was lost, so that one may still be on its way. Once this one is granted it takes nothing any more:
-- it could come when all is released.
--
-- Of a grant from the queue that isn't confirmed nobody was told yet: who enters it has taken it, for as long as
-- was asked for now. Whoever it was meant for may be gone; if not, that one enters it.
local function acquire(keys, args)
  local manner = args[1]
  local e = {
    request = args[2], ms = args[3], kind = args[4], spare = args[5], owner = args[6], keys = keys,
  }
  local count, text = #keys, nil
  local names = {}
  for i = 1, count do names[i] = keys[i] end
  names[count + 1] = withdrawn_of(e.request)
  names[count + 2] = NS .. '\0t'
  local values = get_all(names)
  if values[count + 1] then
    -- The first copy, which comes after the one that was granted: what that one got was told, and may have been
    -- extended since.
    if args[7] ~= '1' then return { 'withdrawn' } end
    for i = 1, count do
      if standing(values[i], e) ~= 'mine' then return { 'withdrawn' } end
    end
  end
  local newest = newest_of(values[count + 2])

  -- Keys without a holder that others wait for: they come first, in their order.
  local handed_on = false
  if manner ~= 'reenter' then
    for i = 1, count do
      -- Read anew: it may have been granted meanwhile, with the key before.
      if is_kept_in_passing(values[i]) == e.request and is_kept_in_passing(get(keys[i])) == e.request then
        call('DEL', keys[i])
        values[i] = false
      end
      if not values[i] and call('EXISTS', queue_of(keys[i])) == 1 then
        if manner == 'again' and not text then
          text = entry_text(e)
          if not queue_with(e, text) then queue_first(keys[i], text) end
        end
        hand_on(keys[i], manner == 'again' and e.request)
        handed_on = true
      end
    end
  end
  if handed_on then values = get_all(keys) end

  local blocking
  local free_keys, mine, own, tokens, unheard_of = {}, {}, {}, {}, {}
  for i = 1, count do
    local is, token = standing(values[i], e)
    tokens[i] = token
    if is == 'free' or is == 'kept' then free_keys[#free_keys + 1] = i
    elseif is == 'mine' then mine[#mine + 1] = i
    elseif is == 'own' then
      unheard_of[i] = is_unconfirmed(keys[i], e.owner)
      if manner == 'reenter' and unheard_of[i] then blocking = blocking or i else own[#own + 1] = i end
    else blocking = blocking or i end
  end
  if manner == 'reenter' and #own < count then blocking = blocking or 1 end

  -- The tokens are drawn last, when nothing can refuse any more but a key of another type.
  if not blocking and #free_keys > 0 then
    local token = take_free(e, e.ms, values)
    if token then
      for i = 1, #free_keys do tokens[free_keys[i]] = token end
    else
      for i = 1, #free_keys do
        if get(keys[free_keys[i]]) == '' then blocking = blocking or free_keys[i] end
      end
    end
  end

  if blocking then
    -- A grant of several keys of which one was lost before it was confirmed.
    for i = 1, #mine do
      free({ keys[mine[i]] }, e.kind == 'o' and e.owner or nil)
      hand_on(keys[mine[i]])
    end
    local head = false
    -- What was just freed may have been handed on; a key of another type was read as nothing.
    local value = #mine == 0 and values[blocking] or get(keys[blocking])
    local token, kind, _, owner = read(value)
    if manner == 'queue' or manner == 'again' then
      text = text or entry_text(e)
      -- A copy of what asked first may come late, when it waits for another key already.
      local queue = (manner == 'again' or count > 1) and queue_with(e, text)
      if queue then
        call('PEXPIRE', queue, QUEUE_TERM)
      elseif manner == 'queue' then
        queue_at(keys[blocking], draw(1), text)
      else
        queue_first(keys[blocking], text)
      end
      head = value and not token and is_near_head(queue_of(keys[blocking]), text)
    end
    -- Whoever hears that it isn't held may not come to hold it by the other copy.
    if manner == 'once' and args[7] == '1' then call('SET', withdrawn_of(e.request), '1', 'PX', args[8]) end
    return {
      'blocked', blocking, call('PTTL', keys[blocking]), kind == 'o' and owner or '',
      head and 1 or 0, newest,
    }
  end

  if manner == 'again' then unqueue(e, text or entry_text(e)) end
  local reply, how, unchanged = { 'granted' }, {}, {}
  -- A grant from the queue was short, and one whose answer got lost was earlier: confirmed, it has its
  -- whole expiry from now. More than that where its owner entered it again meanwhile.
  for i = 1, #mine do
    if e.ms == '' then
      call('PERSIST', keys[mine[i]])
    elseif call('PEXPIRE', keys[mine[i]], e.ms, 'GT') == 0 then
      unchanged[mine[i]] = not is_unconfirmed(keys[mine[i]], e.owner)
    end
  end
  for i = 1, #own do
    local key = keys[own[i]]
    if unheard_of[own[i]] then
      if e.ms == '' then call('PERSIST', key) else call('PEXPIRE', key, e.ms) end
      call('SET', key, lock_value(tokens[own[i]], e.kind, e.request, e.owner), 'KEEPTTL')
    else
      how[own[i]] = 'r'
      unchanged[own[i]] = e.ms == '' or call('PEXPIRE', key, e.ms, 'GT') == 0
    end
  end
  local noted = {}
  for i = 1, count do
    if not unchanged[i] then noted[#noted + 1] = keys[i] end
    reply[2 * i] = tokens[i]
    reply[2 * i + 1] = how[i] or 't'
  end
  if e.kind == 'o' and #noted > 0 then note_owner(e.owner, noted, e.ms) end
  if args[7] == '1' then
    call('SET', withdrawn_of(e.request), '1', 'PX', args[8])
  end
  return reply
end

-- withdraw: takes a request back: out of the queues, and what it was granted. Arguments: unsure,
-- request, ms, kind, spare, owner, and for how many ms it may still be on its way. unsure '1': an answer to
-- it was lost, so it may be, and is refused when it comes.
local function withdraw(keys, args)
  local e = {
    request = args[2], ms = args[3], kind = args[4], spare = args[5], owner = args[6], keys = keys,
  }
  unqueue(e, entry_text(e))
  -- After a write that needs no memory: from there on a server that is full refuses none.
  if args[1] == '1' then
    call('SET', withdrawn_of(e.request), '1', 'PX', args[7])
  end
  local freed = {}
  for i = 1, #keys do
    local is = standing(get(keys[i]), e)
    if is == 'mine' or is == 'kept' then freed[#freed + 1] = keys[i] end
  end
  free(freed, e.kind == 'o' and e.owner or nil)
  if #freed > 0 then hand_on_all(freed) end
  return { 'done' }
end
