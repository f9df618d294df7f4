-- Windows: each a sorted set of outcomes by their times, and above them all, at +inf, its state.
--
--   ?:KNOWN      open: it keeps what it is told, and nobody may count on it yet
--   ?XID:KNOWN   the same; complete once every transaction below XID has ended and is loaded
--   !:KNOWN      complete: every outcome later than KNOWN is here
--
-- A member begins with - for a failure and + for a success: of those of one moment the failures are
-- the last, and so the last to go.
--
-- KEYS the windows; ARGV[1] what to do, [2] and [3 ...] as follows, words with spaces between
--   take  how long new windows live (ms); of each window how many outcomes to keep, the times to
--         which windows, and recent ones, reach back, the earliest time and how many before it
--         matter, what stands for more than are kept where it holds nothing but failures, else 0,
--         score, member ...
--         gives of each its failures (recent, at all), or the state where the rows have to be asked
--   mark  XID
--   load  XID; how many outcomes to keep, KNOWN, score, member ...

local function state_of(key)
    return redis.call('ZRANGE', key, -1, -1)[1]
end

local function parts(state)
    return string.match(state, '^([?!])(%d*):(%d+)$')
end

local function restate(key, state, new)
    if new ~= state then
        redis.call('ZADD', key, 'inf', new)
        if state then
            redis.call('ZREM', key, state)
        end
    end
end

local function words(of)
    local found = {}
    for word in string.gmatch(of, '%S+') do
        found[#found + 1] = word
    end
    return found
end

local function add(key, given, from)
    for i = from, #given, 1000 do
        redis.call('ZADD', key, unpack(given, i, math.min(i + 999, #given)))
    end
end

-- A set that was large stays so inside when it shrinks; a copy of what is kept does not, and takes
-- long to make. Valkey's border is at 128.
local function trim(key, keep)
    local holds = redis.call('ZCARD', key)
    local over = holds - 1 - tonumber(keep)
    if over <= 0 then
        return
    end
    local last = redis.call('ZRANGE', key, over - 1, over - 1, 'WITHSCORES')[2]
    local state = state_of(key)
    local sign, xid = parts(state)
    restate(key, state, sign .. xid .. ':' .. last)
    if holds <= 128 then
        redis.call('ZREMRANGEBYRANK', key, 0, over - 1)
        return
    end
    local lives = redis.call('PTTL', key)
    redis.call('ZRANGESTORE', key, key, over, -1)
    redis.call('PEXPIRE', key, lives)
end

-- Failures from a time on, but of no more than so many outcomes before another one.
local function failures(key, back, since, before)
    local first = redis.call('ZCOUNT', key, '-inf', '(' .. back)
    local earlier = redis.call('ZCOUNT', key, '-inf', '(' .. since)
    local failed = 0
    for _, member in ipairs(redis.call('ZRANGE', key, math.max(first, earlier - before), -2)) do
        if string.byte(member) == 45 then
            failed = failed + 1
        end
    end
    return failed
end

local function answer(key, state, back, recent, since, before, many)
    local sign, _, known = parts(state)
    -- What is not later than KNOWN may be here too, with gaps between.
    local known_back = tonumber(known) < tonumber(back)
    if sign == '?' or not (known_back
            or redis.call('ZCOUNT', key, '(' .. known, '(' .. since) >= before) then
        return {state}
    end
    if many == 0 then
        local failed = failures(key, back, since, before)
        return {failed, failed}
    end
    return {
        redis.call('ZCOUNT', key, recent, '(inf')
            + (tonumber(known) < tonumber(recent) and 0 or many),
        redis.call('ZCOUNT', key, back, '(inf') + (known_back and 0 or many),
    }
end

local function take(key, lives, given)
    local state = state_of(key)
    if not state then
        state = '?:0'
        restate(key, nil, state)
        redis.call('PEXPIRE', key, lives)
    end
    local keep, back, recent, since, before, many = unpack(given, 1, 6)
    add(key, given, 7)
    local said = answer(key, state, back, recent, since, tonumber(before), tonumber(many))
    trim(key, keep)
    return said
end

if ARGV[1] == 'take' then
    local said = {}
    for i, key in ipairs(KEYS) do
        said[i] = take(key, ARGV[2], words(ARGV[2 + i]))
    end
    return said
end
local key, xid = KEYS[1], ARGV[2]
local state = state_of(key)
if not state then
    return
end
local sign, noted, known = parts(state)
if ARGV[1] == 'mark' and sign == '?' and noted == '' then
    restate(key, state, '?' .. xid .. ':' .. known)
elseif ARGV[1] == 'load' and sign == '?' and noted == xid then
    local given = words(ARGV[3])
    add(key, given, 3)
    restate(key, state, '!:' .. (tonumber(known) > tonumber(given[2]) and known or given[2]))
    trim(key, given[1])
end
