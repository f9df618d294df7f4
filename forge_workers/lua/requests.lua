-- Requests by the minute of this server's clock: KEYS[1] prefixes a hash a minute.
--
-- ARGV[1] what to do: count (member, limit, 1 if it was refused) or finished; [2] how many minutes
-- are kept. Finished minutes are given once, as {minute, field, value, ...}, and forgotten.
local minute = math.floor(redis.call('TIME')[1] / 60)
local keep = tonumber(ARGV[2])

local function hash(of)
    return KEYS[1] .. ':' .. string.format('%.0f', of)
end

if ARGV[1] == 'count' then
    local key = hash(minute)
    redis.call('HSET', key, 'limit|' .. ARGV[3], ARGV[4])
    redis.call('HINCRBY', key, (ARGV[5] == '1' and 'refused|' or 'used|') .. ARGV[3], 1)
    redis.call('EXPIRE', key, 60 * (keep + 1))
    return {}
end
local finished = {}
for one = minute - keep, minute - 1 do
    local held = redis.call('HGETALL', hash(one))
    if #held > 0 then
        table.insert(held, 1, string.format('%.0f', one))
        table.insert(finished, held)
        redis.call('UNLINK', hash(one))
    end
end
return finished
