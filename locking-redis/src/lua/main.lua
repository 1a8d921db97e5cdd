-- One call carries any number of operations: what many tasks of a client ask at the same moment. Each is
-- its name, how many keys and how many arguments it has, and those arguments. They run one after
-- another; one that fails is answered with its error, and the others go on.
local operations
local function carry_out(name, keys, at, count)
  local reply = plain(name, keys, at)
  if reply then return reply end
  operations = operations or others()
  local args = {}
  for i = 1, count do args[i] = ARGV[at + i] end
  return operations[name](keys, args)
end

local replies, at, key_at = { nil }, 2, 0
while ARGV[at] do
  local key_count, count = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local keys = KEYS
  if key_count < #KEYS then
    keys = {}
    for i = 1, key_count do keys[i] = KEYS[key_at + i] end
  end
  local done, reply = pcall(carry_out, ARGV[at], keys, at + 2, count)
  if not done then reply = { 'failed', type(reply) == 'table' and reply.err or tostring(reply) } end
  replies[#replies + 1] = reply
  at, key_at = at + 3 + count, key_at + key_count
end
return replies
