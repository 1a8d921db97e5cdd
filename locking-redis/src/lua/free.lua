-- acquire, in its plain case: no key is there, nobody waits for one, and the request wasn't taken back.
-- Then nothing else is to be decided, and no step can be refused but the first write. `at`: where the
-- arguments of acquire begin (see acquire.lua, which answers the same). Nil, with nothing done, if it
-- isn't that case.
local function acquire_free(keys, at)
  local manner, count = ARGV[at + 1], #keys
  if manner ~= 'once' and manner ~= 'queue' or ARGV[at + 7] == '1' or 2 * count >= PAGE then return nil end
  local request, ms, kind = ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local owner = ARGV[at + 6]
  local names = {}
  for i = 1, count do
    names[i] = keys[i]
    names[count + i] = queue_of(keys[i])
  end
  names[2 * count + 1] = withdrawn_of(request)
  if redis.call('EXISTS', unpack(names)) > 0 then return nil end

  local token = draw(1 + ARGV[at + 5])
  local value, reply = lock_value(token, kind, request, owner), { 'granted' }
  for i = 1, count do
    if ms == '' then redis.call('SET', keys[i], value) else redis.call('SET', keys[i], value, 'PX', ms) end
    reply[2 * i] = token
    reply[2 * i + 1] = 't'
  end
  if kind == 'o' then note_owner(owner, keys, ms) end
  return reply
end
