-- One lease as the mirror has it: {0} where the mirror cannot be believed, {1} where there is none,
-- else {1, "verdict|until|since"} and, where a permit was asked for, 1 or 0 for whether it is given.
--
-- KEYS[1] the mirror; ARGV[1] the field, [2] how old a mirror may be (ms), [3] the prefix of the
-- permits, or '' where none is asked for, [4] one throttled call in so many, [5] canaries at most,
-- [6] how long permits are remembered (ms).
local found = redis.call('HMGET', KEYS[1], 'synced', ARGV[1])
if not found[1] then
    return {0}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at, ahead = string.match(found[1], '^%d+|(%d+)|(-?%d+)|')
if now - tonumber(at) > tonumber(ARGV[2]) then
    return {0}
end
if not found[2] then
    return {1}
end
local verdict, ends, since = string.match(found[2], '^(%l+)|(%d*)|(%d+)$')
-- The database's clock says when it ends; this one is so much ahead of it.
if ends ~= '' and now - tonumber(ahead) >= tonumber(ends) then
    return {1}
end
if ARGV[3] == '' then
    return {1, found[2]}
end

local permits = ARGV[3] .. ':' .. since
local drawn = tonumber(redis.call('GET', permits) or '0')
local permitted = false
if verdict == 'throttled' then
    permitted = drawn % tonumber(ARGV[4]) == 0
elseif verdict == 'probation' then
    permitted = drawn < tonumber(ARGV[5])
end
if permitted or verdict == 'throttled' then
    redis.call('SET', permits, drawn + 1, 'PX', ARGV[6])
end
return {1, found[2], permitted and 1 or 0}
