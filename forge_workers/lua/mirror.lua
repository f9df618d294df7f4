-- Put a prepared copy in the mirror's place, unless somebody who looked later was here before.
--
-- KEYS[1] the mirror, KEYS[2] the copy, or the mirror itself where nothing has changed; ARGV[1] the
-- number drawn before looking, [2] how many leases there are, [3] the database's time (ms) when it
-- was looked at, [4] a digest of what was seen. Gives 0 where the copy is not whole any more.
local synced = redis.call('HGET', KEYS[1], 'synced')
if synced and tonumber(string.match(synced, '^%d+')) > tonumber(ARGV[1]) then
    if KEYS[2] ~= KEYS[1] then
        redis.call('UNLINK', KEYS[2])
    end
    return 1
end
if KEYS[2] ~= KEYS[1] then
    if redis.call('HLEN', KEYS[2]) ~= tonumber(ARGV[2]) then
        return 0
    end
    redis.call('UNLINK', KEYS[1])
    if tonumber(ARGV[2]) > 0 then
        redis.call('RENAME', KEYS[2], KEYS[1])
        redis.call('PERSIST', KEYS[1])
    end
elseif not synced or string.match(synced, '[^|]*$') ~= ARGV[4] then
    return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ahead = string.format('%.0f', now - tonumber(ARGV[3]))
local seen = ARGV[1] .. '|' .. string.format('%.0f', now) .. '|' .. ahead .. '|' .. ARGV[4]
redis.call('HSET', KEYS[1], 'synced', seen)
return 1
