-- Where it isn't the usual case: an operation is carried out by the first of these that has its case; the last,
-- `others`, has them all.
local operations
local function carry_out(name, keys, ...)
  local reply, freed, args
  if #keys == 1 then
    reply, freed = contended(keys[1], name, ...)
    if reply and not freed then return reply end
    args = { ... }
  else
    args = ...
    reply = #keys > 1 and several(keys, name, args)
    if reply then return reply end
  end

  operations = operations or others()
  if freed then operations.hand_on(freed) end
  return reply or operations[name](keys, args)
end
return { carry_out = carry_out, note_owner = note_owner }
