-- One call carries any number of operations: what many tasks of a client ask at the same moment. Each is
-- its name, how many keys and how many arguments it has, and those arguments. They run one after
-- another; one that fails is answered with its error, and the others go on.
local operations = {
  acquire = acquire, withdraw = withdraw, release = release, release_lease = release_lease,
  extend = extend, rename = rename, newest = newest, free_all = free_all, free_owned = free_owned,
  inspect = inspect,
}
local replies, at, key_at = {}, 3, 0
while at <= #ARGV do
  local operation, key_count, count = operations[ARGV[at]], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local keys, args = {}, {}
  for i = 1, key_count do keys[i] = KEYS[key_at + i] end
  for i = 1, count do args[i] = ARGV[at + 2 + i] end
  at, key_at = at + 3 + count, key_at + key_count
  local done, reply = pcall(operation, keys, args)
  if not done then reply = { 'failed', type(reply) == 'table' and reply.err or tostring(reply) } end
  replies[#replies + 1] = reply
end
return replies
