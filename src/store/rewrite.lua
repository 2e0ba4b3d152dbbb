-- Puts rewritten subjects in the place of all present ones, unless something was committed since they were read.
--
-- KEYS  1 subjects  2 scores  3 bans    as in commit.lua
--       4 to 6      their successors, written beforehand under names of their own
--       7 revision  8 notes     as in commit.lua
-- ARGV  1 revision before the subjects were read ("" for none)   2 version of the schema that the caller knows
-- Returns  {"done"}, {"conflict"}, or {"newer", VERSION} as commit.lua does.

local told = redis.call('HGET', KEYS[8], 'schema')
if told and not (tonumber(told) and tonumber(told) <= tonumber(ARGV[2])) then
  return { 'newer', told }
end
if (redis.call('GET', KEYS[7]) or '') ~= ARGV[1] then
  return { 'conflict' }
end
-- The successors expire, should their writer die; half of them must not take over.
if redis.call('HLEN', KEYS[4]) ~= redis.call('HLEN', KEYS[1]) then
  return { 'conflict' }
end
redis.call('INCR', KEYS[7])
for i = 1, 3 do
  if redis.call('EXISTS', KEYS[i + 3]) == 1 then
    redis.call('RENAME', KEYS[i + 3], KEYS[i])
    redis.call('PERSIST', KEYS[i])
  else
    redis.call('DEL', KEYS[i])
  end
end
return { 'done' }
