-- One call carries any number of operations: what many tasks of a client ask at the same moment. Each is
-- one argument, in MessagePack: its name, how many of KEYS are its own, and a list of its arguments. They
-- run one after another; one that fails is answered with its error, and the others go on.
local operations
local function carry_out(name, keys, args)
  local reply, freed = plain(name, keys, args)
  if reply and not freed then return reply end
  operations = operations or others()
  if freed then operations.hand_on(freed) end
  return reply or operations[name](keys, args)
end

local replies, key_at = { nil }, 0
for at = 2, #ARGV do
  local name, key_count, args = cmsgpack.unpack(ARGV[at])
  local keys = KEYS
  if key_count < #KEYS then
    keys = { nil }
    for i = 1, key_count do keys[i] = KEYS[key_at + i] end
    key_at = key_at + key_count
  end
  local done, reply = pcall(carry_out, name, keys, args)
  if not done then reply = { 'failed', type(reply) == 'table' and reply.err or tostring(reply) } end
  replies[at - 1] = reply
end
return replies
