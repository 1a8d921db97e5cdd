-- One call carries any number of operations: what many tasks of a client ask at the same moment. Each is
-- one argument, in MessagePack: its name, how many of KEYS are its own, and its arguments, in a list unless it
-- has one key. They run one after another; one that fails is answered with its error, and the others go on.
local unusual
local key_at = 0
local function carry_out(name, count, ...)
  local before = key_at
  key_at = before + count
  local reply, owner
  if count == 1 and usual[name] then
    reply, owner = usual[name](KEYS[key_at], ...)
    if reply and not owner then return reply end
  end

  unusual = unusual or define()
  local keys = {}
  for i = 1, count do keys[i] = KEYS[before + i] end
  if not reply then return unusual.carry_out(name, keys, ...) end
  unusual.note_owner(owner, keys, (select(3, ...)))
  return reply
end

local replies = { nil }
for at = 2, #ARGV do
  local done, reply = pcall(carry_out, cmsgpack.unpack(ARGV[at]))
  if not done then reply = { 'failed', type(reply) == 'table' and reply.err or tostring(reply) } end
  replies[at - 1] = reply
end
-- One by itself is answered by itself.
return #ARGV > 2 and replies or replies[1]
