-- Replaces the evidence of one subject unless it has changed since it was read.
--
-- KEYS  1 evidence  hash  subject -> lines of JSON parted by newlines
-- ARGV  1 subject   2 lines as they were read   3 lines to keep ("" forgets all)
-- Returns  1 when replaced, else 0.

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 1
