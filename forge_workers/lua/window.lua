-- One window: a sorted set of outcomes by their times, and above them all, at +inf, its state.
--
--   ?:KNOWN      open: it keeps what it is told, and nobody may count on it yet
--   ?XID:KNOWN   the same; complete once every transaction below XID has ended and is loaded
--   !:KNOWN      complete: every outcome later than KNOWN is here
--
-- A member begins with - for a failure and + for a success: of those of one moment the failures are
-- the last, and so the last to go.
--
-- KEYS[1] the window; ARGV[1] what to do, and then
--   take  how long a new window lives (ms), how many outcomes to keep, the times to which windows,
--         and recent ones, reach back, the earliest time and how many before it matter, what
--         stands for more than are kept where it holds nothing but failures, else 0,
--         score, member ...
--         gives the failures (recent, at all), or the state where the rows have to be asked
--   mark  XID
--   load  XID, how many outcomes to keep, KNOWN, score, member ...
local key, keep = KEYS[1], tonumber(ARGV[3])
local state = redis.call('ZRANGE', key, -1, -1)[1]

local function restate(new)
    if new ~= state then
        redis.call('ZADD', key, 'inf', new)
        if state then
            redis.call('ZREM', key, state)
        end
        state = new
    end
end

local function parts()
    return string.match(state, '^([?!])(%d*):(%d+)$')
end

local function add(from)
    for i = from, #ARGV, 2 do
        redis.call('ZADD', key, ARGV[i], ARGV[i + 1])
    end
end

-- A large set stays large inside when it shrinks; a copy of what is kept does not.
local function trim()
    local over = redis.call('ZCARD', key) - 1 - keep
    if over <= 0 then
        return
    end
    local last = redis.call('ZRANGE', key, over - 1, over - 1, 'WITHSCORES')[2]
    local sign, xid = parts()
    restate(sign .. xid .. ':' .. last)
    local lives = redis.call('PTTL', key)
    redis.call('ZRANGESTORE', key, key, over, -1)
    redis.call('PEXPIRE', key, lives)
end

-- Failures from a time on, but of no more than so many outcomes before another one.
local function failures(back, since, before)
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

if ARGV[1] == 'take' then
    local back, recent, since = ARGV[4], ARGV[5], ARGV[6]
    local before, many = tonumber(ARGV[7]), tonumber(ARGV[8])
    if not state then
        restate('?:0')
        redis.call('PEXPIRE', key, ARGV[2])
    end
    add(9)
    local sign, _, known = parts()
    local answer = {state}
    -- What is not later than KNOWN may be here too, with gaps between.
    local known_back = tonumber(known) < tonumber(back)
    if sign == '!' and (known_back
            or redis.call('ZCOUNT', key, '(' .. known, '(' .. since) >= before) then
        if many == 0 then
            local failed = failures(back, since, before)
            answer = {failed, failed}
        else
            answer = {
                redis.call('ZCOUNT', key, recent, '(inf')
                    + (tonumber(known) < tonumber(recent) and 0 or many),
                redis.call('ZCOUNT', key, back, '(inf') + (known_back and 0 or many),
            }
        end
    end
    trim()
    return answer
elseif ARGV[1] == 'mark' then
    if state then
        local sign, xid, known = parts()
        if sign == '?' and xid == '' then
            restate('?' .. ARGV[2] .. ':' .. known)
        end
    end
elseif ARGV[1] == 'load' then
    if state then
        local sign, xid, known = parts()
        if sign == '?' and xid == ARGV[2] then
            add(5)
            restate('!:' .. (tonumber(known) > tonumber(ARGV[4]) and known or ARGV[4]))
            trim()
        end
    end
end
