-- What members have downloaded since a moment: of each a HyperLogLog, and beside it a state as a
-- window has one (see window.lua): '?', '?XID', then '!'. Either of them missing, both begin anew.
--
-- KEYS the state, the HyperLogLog, ...; ARGV[1] what to do, [2] and [3 ...] as follows, words with
-- spaces between
--   take  how long they live (ms); of each the items      gives of each the estimate, or the state
--   mark  XID
--   load  XID; the items

local function state_of(key, items)
    return redis.call('EXISTS', items) == 1 and redis.call('GET', key)
end

local function add(key, words)
    local given = {}
    for word in string.gmatch(words, '%S+') do
        given[#given + 1] = word
    end
    for i = 1, #given, 1000 do
        redis.call('PFADD', key, unpack(given, i, math.min(i + 999, #given)))
    end
end

local function take(key, items, lives, words)
    local state = state_of(key, items)
    if not state then
        state = '?'
        redis.call('SET', key, state, 'PX', lives)
        redis.call('DEL', items)
        redis.call('PFADD', items)
        redis.call('PEXPIRE', items, lives)
    end
    add(items, words)
    return {state == '!' and redis.call('PFCOUNT', items) or state}
end

if ARGV[1] == 'take' then
    local said = {}
    for i = 1, #KEYS / 2 do
        said[i] = take(KEYS[2 * i - 1], KEYS[2 * i], ARGV[2], ARGV[2 + i])
    end
    return said
end
local state = state_of(KEYS[1], KEYS[2])
if ARGV[1] == 'mark' and state == '?' then
    redis.call('SET', KEYS[1], '?' .. ARGV[2], 'KEEPTTL')
elseif ARGV[1] == 'load' and state == '?' .. ARGV[2] then
    add(KEYS[2], ARGV[3])
    redis.call('SET', KEYS[1], '!', 'KEEPTTL')
end
