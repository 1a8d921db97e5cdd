-- extend: sets the remaining time of all holds of a lease, or of none. Arguments: ms, owner of the
-- lease, token and origin of each key. A guard that was passed on is written down as its new holder's;
-- never back to an earlier one's, whose last renewal may come late.
-- Answers as release_lease does.
local function extend(keys, args)
  local ms, holder = args[1], args[2]
  local found = {}
  for i = 1, #keys do
    local value = get(keys[i])
    if not is_meant(value, args[2 * i + 1], args[2 * i + 2]) then return { 'done', i } end
    local token, kind, request, owner = read(value)
    found[i] = { token = token, kind = kind, request = request, owner = owner }
  end
  for i = 1, #keys do
    local hold = found[i]
    -- First, because it needs no memory: from there on a server that is full refuses none.
    call('PEXPIRE', keys[i], ms)
    local renamed = hold.token == args[2 * i + 1] and hold.owner ~= holder
    if hold.request == args[2 * i + 2] and (renamed or hold.token < args[2 * i + 1]) then
      call('SET', keys[i], lock_value(args[2 * i + 1], hold.kind, hold.request, holder), 'KEEPTTL')
    elseif hold.kind == 'o' then
      -- It may have been without an end.
      forget_owner(hold.owner, { keys[i] })
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
    call('SET', keys[1], lock_value(args[2], kind, request, args[3]), 'KEEPTTL')
  end
  return { 'done' }
end
