-- Return a permit to those that were drawn, KEYS[1]; there may be none any more.
if tonumber(redis.call('GET', KEYS[1]) or '0') > 0 then
    redis.call('DECR', KEYS[1])
end
