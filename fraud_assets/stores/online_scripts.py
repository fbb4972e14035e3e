"""What the online store does in one atomic step, as Redis runs it (Lua)."""

# Both scripts begin so. KEYS: marker, positions. ARGV: marker prefix, holder, its last word or ''. The comparison is part of
# the same atomic step, so neither a writer of a former epoch nor one whose last writes were lost changes anything.
_CHECKS = """
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then
  return redis.error_reply('NOEPOCH the marker names another epoch')
end
if ARGV[3] ~= '' and redis.call('HGET', KEYS[2], ARGV[2]) ~= ARGV[3] then
  return redis.error_reply('WENTBACK the last word of this writer is not there')
end
"""

# Then states… and expiry ms or '', then (version bytes or '', envelope) of each.
COMPARE_AND_SET = (
    _CHECKS
    + """
local made = {}
for i = 3, #KEYS do
  local at = 2 * i - 1
  if redis.call('GETRANGE', KEYS[i], 0, 7) == ARGV[at] then
    if ARGV[4] == '' then
      redis.call('SET', KEYS[i], ARGV[at + 1])
    else
      redis.call('SET', KEYS[i], ARGV[at + 1], 'PX', ARGV[4])
    end
    made[i - 2] = 1
  else
    made[i - 2] = 0
  end
end
return made
"""
)

# Then the new word, and (position's name, offset) of each. A former owner that wakes late takes nothing back.
ADVANCE = (
    _CHECKS
    + """
local names, said = {}, {ARGV[2], ARGV[4]}
for i = 5, #ARGV, 2 do names[#names + 1] = ARGV[i] end
if #names > 0 then
  local held = redis.call('HMGET', KEYS[2], unpack(names))
  for i = 1, #names do
    local at = ARGV[4 + 2 * i]
    if tonumber(held[i] or -1) < tonumber(at) then
      said[#said + 1] = names[i]
      said[#said + 1] = at
    end
  end
end
redis.call('HSET', KEYS[2], unpack(said))
return {}
"""
)

# Both follow the check of the marker, for their writer has just been refused. ARGV: marker prefix, the mark, then the laggard's field and
# what it lost; or the prefix of such fields.
FALL_BEHIND = """
local head, mark = ARGV[1], ARGV[2]
local raw = redis.call('GET', KEYS[1]) or ''
if string.sub(raw, 1, #head) ~= head then return redis.error_reply('NOEPOCH the marker names another epoch') end
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
if string.sub(raw, #head + 1, #head + #mark) ~= mark then
  redis.call('SET', KEYS[1], head .. mark .. string.sub(raw, #head + 1))
end
return {}
"""
CATCH_UP = """
local head, mark, laggard = ARGV[1], ARGV[2], ARGV[3]
local raw = redis.call('GET', KEYS[1]) or ''
if string.sub(raw, 1, #head) ~= head then return redis.error_reply('NOEPOCH the marker names another epoch') end
if string.sub(raw, #head + 1, #head + #mark) ~= mark then return {1} end
local held, waits = {}, false
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do held[all[i]] = all[i + 1] end
for name, lost in pairs(held) do
  if string.sub(name, 1, #laggard) == laggard then
    local is_behind = false
    for at, offset in pairs(cjson.decode(lost)) do
      if (tonumber(held[at]) or -1) < offset then is_behind = true end
    end
    if is_behind then waits = true else redis.call('HDEL', KEYS[2], name) end
  end
end
if waits then return {0} end
redis.call('SET', KEYS[1], head .. string.sub(raw, #head + #mark + 1))
return {1}
"""
REPLACE_MARKER = """
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) end
return {}
"""
