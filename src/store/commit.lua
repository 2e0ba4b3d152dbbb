-- Applies one commit whole, or tells why not and changes nothing.
--
-- KEYS  1 subjects   hash    subject -> state as JSON
--       2 scores     zset    subject by rank (log2 of its score brought back to the epoch)
--       3 bans       zset    subject by the end of its stored ban, milliseconds
--       4 evidence   hash    subject -> lines of JSON, oldest first, parted by newlines
--       5 events     stream  field c: one change as JSON
--       6 positions  hash    [host, log] as JSON -> "COMMIT\nprogress as JSON"
--       7 allow      hash    entry -> JSON
--       8 commit     string  exists when this commit was applied; only for commits without progress
--
-- ARGV  a flat list, each part led by its count:
--       lines of evidence kept for a subject; changes kept in the stream
--       progress:  field, commit that it continues ("" for none), its own commit, value
--       expected:  subject, state as it was read ("" for none)
--       put:       subject, state ("" forgets it), rank ("" for none), end of ban ("" for none)
--       evidence:  subject, lines of JSON parted by newlines
--       changes:   JSON
--       allow:     entry, JSON
--       disallow:  entry
--
-- Returns  "done", "again" (it was applied before: the answer was lost), "conflict" (a subject has changed since it was
--          read), or "stale" (another process has moved a position).

local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end
local function count()
  return tonumber(take())
end

local keepLines = count()
local keepChanges = count()

local progress = {}
for i = 1, count() do
  progress[i] = { field = take(), after = take(), commit = take(), value = take() }
end
if #progress == 0 and redis.call('EXISTS', KEYS[8]) == 1 then
  return 'again'
end
for _, one in ipairs(progress) do
  local stored = redis.call('HGET', KEYS[6], one.field)
  local commit = stored and string.match(stored, '^[^\n]*') or ''
  if commit == one.commit then
    return 'again'
  end
  if commit ~= one.after then
    return 'stale'
  end
end

for _ = 1, count() do
  local subject, expected = take(), take()
  if (redis.call('HGET', KEYS[1], subject) or '') ~= expected then
    return 'conflict'
  end
end

for _ = 1, count() do
  local subject, state, rank, ends = take(), take(), take(), take()
  if state == '' then
    redis.call('HDEL', KEYS[1], subject)
    redis.call('HDEL', KEYS[4], subject)
  else
    redis.call('HSET', KEYS[1], subject, state)
  end
  if rank == '' then
    redis.call('ZREM', KEYS[2], subject)
  else
    redis.call('ZADD', KEYS[2], rank, subject)
  end
  if ends == '' then
    redis.call('ZREM', KEYS[3], subject)
  else
    redis.call('ZADD', KEYS[3], ends, subject)
  end
end

for _ = 1, count() do
  local subject, lines = take(), take()
  local stored = redis.call('HGET', KEYS[4], subject)
  local all = {}
  for line in string.gmatch((stored and stored .. '\n' or '') .. lines, '[^\n]+') do
    all[#all + 1] = line
  end
  redis.call('HSET', KEYS[4], subject, table.concat(all, '\n', math.max(1, #all - keepLines + 1)))
end

for _ = 1, count() do
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', keepChanges, '*', 'c', take())
end
for _ = 1, count() do
  local entry, value = take(), take()
  redis.call('HSET', KEYS[7], entry, value)
end
for _ = 1, count() do
  redis.call('HDEL', KEYS[7], take())
end

for _, one in ipairs(progress) do
  redis.call('HSET', KEYS[6], one.field, one.commit .. '\n' .. one.value)
end
if #progress == 0 then
  redis.call('SET', KEYS[8], '1', 'PX', 600000)
end
return 'done'
