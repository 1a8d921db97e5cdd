-- What the operations build on where it isn't the plain case.

-- After how many moves a request for several keys has the free ones kept for it, and for how long in ms: at
-- first, and at most.
local MOVES, KEPT_TERM, LONGEST_KEPT_TERM = 16, 25, 1600

-- What a command answers for many keys at once, as a list or, of one that counts, the sum.
local function get_all(keys)
  if #keys == 0 then return {} end
  if #keys <= PAGE then return redis.call('MGET', unpack(keys)) end
  local values = {}
  for from = 1, #keys, PAGE do
    local page = redis.call('MGET', unpack(keys, from, math.min(from + PAGE - 1, #keys)))
    for i = 1, #page do values[from + i - 1] = page[i] end
  end
  return values
end
local function count_all(command, keys)
  local sum = 0
  for from = 1, #keys, PAGE do
    sum = sum + redis.call(command, unpack(keys, from, math.min(from + PAGE - 1, #keys)))
  end
  return sum
end

-- Removes holds that were just read. `owner`: whose leases they are; nil for those of no owner. Answers
-- how many there were.
local function free(keys, owner)
  local count = count_all('DEL', keys)
  if owner and count > 0 then forget_owner(owner, keys) end
  return count
end
