-- What a member has downloaded since a moment: a HyperLogLog, and beside it a state as a window has
-- one (see window.lua): '?', '?XID', then '!'. Either of them missing, both begin anew.
--
-- KEYS[1] the state, KEYS[2] the HyperLogLog; ARGV[1] what to do, and then
--   take  how long it lives (ms), item ...      gives the estimate, or the state
--   mark  XID
--   load  XID, item ...
local state = redis.call('GET', KEYS[1])
if state and redis.call('EXISTS', KEYS[2]) == 0 then
    state = false
end

local function add(from)
    for i = from, #ARGV, 1000 do
        redis.call('PFADD', KEYS[2], unpack(ARGV, i, math.min(i + 999, #ARGV)))
    end
end

if ARGV[1] == 'take' then
    if not state then
        state = '?'
        redis.call('SET', KEYS[1], state, 'PX', ARGV[2])
        redis.call('DEL', KEYS[2])
        redis.call('PFADD', KEYS[2])
        redis.call('PEXPIRE', KEYS[2], ARGV[2])
    end
    add(3)
    if state == '!' then
        return {redis.call('PFCOUNT', KEYS[2])}
    end
    return {state}
elseif ARGV[1] == 'mark' and state == '?' then
    redis.call('SET', KEYS[1], '?' .. ARGV[2], 'KEEPTTL')
elseif ARGV[1] == 'load' and state == '?' .. ARGV[2] then
    add(3)
    redis.call('SET', KEYS[1], '!', 'KEEPTTL')
end
