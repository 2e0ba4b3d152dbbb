-- Applies one commit whole, or tells why not and changes nothing.
--
-- KEYS  1 subjects   hash    subject -> state as JSON
--       2 scores     zset    subject by rank (log2 of its score brought back to the epoch)
--       3 bans       zset    subject by the end of its stored ban, milliseconds
--       4 evidence   hash    subject -> lines of JSON, oldest first, parted by newlines
--       5 events     stream  field c: one change as JSON
--       6 positions  hash    [host, log] as JSON -> "COMMIT\nATTEMPT\nprogress as JSON"
--       7 allow      hash    entry -> JSON
--       8 revision   string  counts the commits that put a state: by it rewrite.lua sees that none did meanwhile
--       9 notes      hash    name -> JSON; "schema" is the version of all this
--      10 commit     string  the attempt by which this commit was applied; only for commits with a name and no progress
--
-- ARGV  a flat list, each part led by its count:
--       name of this attempt ("" for one that may be applied twice); version of the schema that the caller knows;
--       lines of evidence kept for a subject; changes kept in the stream
--       progress:  field, commit that it continues ("" for none), its own commit, value
--       expected:  subject, state as it was read ("" for none)
--       put:       subject, state ("" forgets it), rank ("" for none), end of ban ("" for none)
--       evidence:  subject, lines of JSON parted by newlines
--       trimmed:   subject, its lines as they were read, lines to keep ("" forgets all)
--       changes:   JSON
--       forgotten: id of a change
--       allow:     entry, JSON
--       disallow:  entry
--       notes:     name, JSON ("" forgets it)
--
-- Returns  {"done"}, {"again", ATTEMPT} (that attempt was applied before, and its answer was lost), {"conflict"} (a
--          subject has changed since it was read), {"stale", field} (another process has moved that position), or
--          {"newer", VERSION} (a newer blockd has made all this).
--
-- Redis doesn't take back what a script wrote before it failed, so all that can fail is tried before the first write.

local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end
local function count()
  return tonumber(take())
end

local attempt = take()
local schema = count()
local told = redis.pcall('HGET', KEYS[9], 'schema')
if type(told) == 'string' and not (tonumber(told) and tonumber(told) <= schema) then
  return { 'newer', told }
end

for i, kind in ipairs({ 'hash', 'zset', 'zset', 'hash', 'stream', 'hash', 'hash', 'string', 'hash' }) do
  local found = redis.call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found .. ', not a ' .. kind)
  end
end

local keepLines = count()
local keepChanges = count()

local progress = {}
for i = 1, count() do
  progress[i] = { field = take(), after = take(), commit = take(), value = take() }
end
if #progress == 0 and attempt ~= '' then
  local applied = redis.call('GET', KEYS[10])
  if applied then
    return { 'again', applied }
  end
end
for _, one in ipairs(progress) do
  local stored = redis.call('HGET', KEYS[6], one.field) or '\n\n'
  local commit, by = string.match(stored, '^([^\n]*)\n([^\n]*)')
  if commit == one.commit then
    return { 'again', by }
  end
  if commit ~= one.after then
    return { 'stale', one.field }
  end
end

-- Once with all of them: a call from Lua costs more than what most of these do. Its stack holds no more than some thousands.
local MOST = 1000
local function each(command, key, list)
  for from = 1, #list, MOST do
    redis.call(command, key, unpack(list, from, math.min(from + MOST - 1, #list)))
  end
end
-- The values of fields 1 to #fields; false for those that are not there.
local function valuesOf(key, fields)
  local values = {}
  for from = 1, #fields, MOST do
    local part = redis.call('HMGET', key, unpack(fields, from, math.min(from + MOST - 1, #fields)))
    for i = 1, #part do
      values[from + i - 1] = part[i]
    end
  end
  return values
end

local subjects, expected = {}, {}
for i = 1, count() do
  subjects[i], expected[i] = take(), take()
end
for i, state in ipairs(valuesOf(KEYS[1], subjects)) do
  if (state or '') ~= expected[i] then
    return { 'conflict' }
  end
end

if tonumber(told) ~= schema then
  redis.call('HSET', KEYS[9], 'schema', schema)
end
local puts = count()
if puts > 0 then
  redis.call('INCR', KEYS[8])
end
local states, forgotten, ranks, unranked, bans, unbanned = {}, {}, {}, {}, {}, {}
for _ = 1, puts do
  local subject, state, rank, ends = take(), take(), take(), take()
  if state == '' then
    forgotten[#forgotten + 1] = subject
  else
    states[#states + 1] = subject
    states[#states + 1] = state
  end
  if rank == '' then
    unranked[#unranked + 1] = subject
  else
    ranks[#ranks + 1] = rank
    ranks[#ranks + 1] = subject
  end
  if ends == '' then
    unbanned[#unbanned + 1] = subject
  else
    bans[#bans + 1] = ends
    bans[#bans + 1] = subject
  end
end
each('HDEL', KEYS[1], forgotten)
each('HDEL', KEYS[4], forgotten)
each('HSET', KEYS[1], states)
each('ZREM', KEYS[2], unranked)
each('ZADD', KEYS[2], ranks)
each('ZREM', KEYS[3], unbanned)
each('ZADD', KEYS[3], bans)

-- The last lines of a text.
local function newest(text)
  local ends, at = {}, 0
  repeat
    at = string.find(text, '\n', at + 1, true)
    ends[#ends + 1] = at
  until not at
  local more = #ends + 1 - keepLines
  return more > 0 and string.sub(text, ends[more] + 1) or text
end

local blamed, lines = {}, {}
for i = 1, count() do
  blamed[i], lines[i] = take(), take()
end
local evidence = {}
for i, stored in ipairs(valuesOf(KEYS[4], blamed)) do
  evidence[2 * i - 1] = blamed[i]
  evidence[2 * i] = newest(stored and stored .. '\n' .. lines[i] or lines[i])
end
each('HSET', KEYS[4], evidence)

for _ = 1, count() do
  local subject, lines, left = take(), take(), take()
  if redis.call('HGET', KEYS[4], subject) == lines then
    if left == '' then
      redis.call('HDEL', KEYS[4], subject)
    else
      redis.call('HSET', KEYS[4], subject, left)
    end
  end
end

for _ = 1, count() do
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', keepChanges, '*', 'c', take())
end
for _ = 1, count() do
  redis.call('XDEL', KEYS[5], take())
end
for _ = 1, count() do
  local entry, value = take(), take()
  redis.call('HSET', KEYS[7], entry, value)
end
for _ = 1, count() do
  redis.call('HDEL', KEYS[7], take())
end
for _ = 1, count() do
  local name, value = take(), take()
  if value == '' then
    redis.call('HDEL', KEYS[9], name)
  else
    redis.call('HSET', KEYS[9], name, value)
  end
end

for _, one in ipairs(progress) do
  redis.call('HSET', KEYS[6], one.field, one.commit .. '\n' .. attempt .. '\n' .. one.value)
end
if #progress == 0 and attempt ~= '' then
  redis.call('SET', KEYS[10], attempt, 'PX', 600000)
end
return { 'done' }
