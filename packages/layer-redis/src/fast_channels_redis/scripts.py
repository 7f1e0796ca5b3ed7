"""What a server does in one step for histories.

A topic has three keys in one slot. Its stream has an entry for each message: ``p`` the payload,
``b`` the id of the entry before it, ``i`` the message's own id where it has one. Each entry names
its predecessor, so whoever reads on from an entry sees whether anything is missing, however it
went: trimmed, expired, evicted, rolled back. A hash has the epoch, the run of the server that wrote
last, the end, and how long entries live. A sorted set has the messages' ids, by time.
"""

from hashlib import sha1
from typing import Final

ANEW: Final = "n"
"""How an epoch begins whose history began empty."""

_OPEN: Final = """
local stream, meta, ids = KEYS[1], KEYS[2], KEYS[3]
local known = redis.call('HMGET', meta, 'epoch', 'run', 'end', 'ttl', 'due')
local epoch, last, ttl, due = known[1], known[3], tonumber(known[4] or 0), tonumber(known[5] or 0)
if not epoch then
  epoch, last = 'n' .. ARGV[3], '0-0'
  redis.call('HSET', meta, 'epoch', epoch, 'run', ARGV[1], 'end', last)
  redis.call('PEXPIRE', meta, 3600000)
  redis.call('UNLINK', stream, ids)
elseif known[2] ~= ARGV[1] then
  local same = string.sub(known[2], 1, 40) == string.sub(ARGV[1], 1, 40)
  local saved = string.sub(known[2], 41) == 'always' and ARGV[2] == '1'
  if not same and not saved then epoch = ARGV[3] end
  redis.call('HSET', meta, 'epoch', epoch, 'run', ARGV[1])
end
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""
"""``ARGV``: the server's run (40 characters), and how it saves; "1" if it began with what it had
saved; a new epoch, in case that it is needed.

Where the server that wrote last is not this one, the epoch changes: what it took last may be gone.
Not so where every append was on its disk before it was answered, and this run began with those. A
topic without a hash begins anew, whatever else is left of it. The first write is one that a full
server refuses, so that it does nothing or all.
"""

_APPEND: Final = """
local channel, keep = ARGV[4], ARGV[5]
ttl = tonumber(ARGV[6])
local place, added, named = '*', 0, false
if last ~= '0-0' and redis.call('EXISTS', stream) == 0 then
  local ms, n = string.match(last, '^(%d+)-(%d+)$')
  if now() <= tonumber(ms) then place = ms .. '-' .. string.format('%.0f', n + 1) end
end
local function there(id)
  local at = redis.call('ZSCORE', ids, id)
  if not at or tonumber(at) <= now() - ttl then return false end
  at = string.format('%.0f', at)
  for _, entry in ipairs(redis.call('XRANGE', stream, at, at)) do
    if entry[2][6] == id then return true end
  end
end
for i = 7, #ARGV, 2 do
  local id, payload = ARGV[i], ARGV[i + 1]
  if id == '' or not there(id) then
    local new
    if id == '' then
      new = redis.call('XADD', stream, 'MAXLEN', keep, place, 'p', payload, 'b', last)
    else
      new = redis.call('XADD', stream, 'MAXLEN', keep, place, 'p', payload, 'b', last, 'i', id)
      redis.call('ZADD', ids, string.match(new, '^%d+'), id)
      named = true
    end
    local sent = redis.pcall('PUBLISH', channel, epoch .. ' ' .. new .. ' ' .. payload)
    if type(sent) == 'table' then
      redis.call('XDEL', stream, new)
      return sent
    end
    last, place, added = new, '*', added + 1
  end
end
if added == 0 then return 0 end
redis.call('HSET', meta, 'end', last)
local at = tonumber(string.match(last, '^%d+'))
if at >= due or ttl ~= tonumber(known[4] or 0) then
  redis.pcall('XTRIM', stream, 'MINID', string.format('%.0f', at - ttl + 1))
  redis.call('PEXPIRE', stream, string.format('%.0f', ttl * 1.5))
  redis.call('PEXPIRE', meta, string.format('%.0f', math.max(ttl * 3, 3600000)))
  redis.call('HSET', meta, 'ttl', ARGV[6], 'due', string.format('%.0f', at + ttl / 2))
end
if named then
  redis.call('PEXPIRE', ids, string.format('%.0f', ttl * 1.5))
  if redis.call('ZCARD', ids) > redis.call('XLEN', stream) then
    local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    redis.call('ZREMRANGEBYSCORE', ids, '-inf', '(' .. string.match(first[1], '^%d+'))
  end
end
return added
"""
"""``ARGV``: the channel, how many entries are kept, for how long, then each one's id and payload.

Old entries are trimmed, and the keys' lives prolonged, every half of the time that entries live;
readers leave out what has expired (Redis 6.0 has no ``MINID``, and trims by number alone). The
hash lives longest: it knows the end. An entry that could not be published is not there.
"""

_READ: Final = """
local after = ARGV[5]
if ARGV[4] ~= '' and ARGV[4] ~= epoch then return {epoch, last, false} end
local from = after == '' and '-' or after
if ttl > 0 then
  local first = now() - ttl + 1
  if after == '' or tonumber(string.match(after, '^%d+')) < first then
    from = string.format('%.0f', first)
  end
end
return {epoch, last, redis.call('XRANGE', stream, from, '+', 'COUNT', ARGV[6])}
"""
"""``ARGV``: the position after which to read, as epoch and id; how many, that one included."""

_LAST: Final = """
local found = {}
if ARGV[4] ~= '0' then
  local from = ttl > 0 and string.format('%.0f', now() - ttl + 1) or '-'
  found = redis.call('XREVRANGE', stream, '+', from, 'COUNT', ARGV[4])
end
return {epoch, last, found}
"""


class Script:
    """A script, and the name that the server gives it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()


READ: Final = Script(_OPEN + _READ)
LAST: Final = Script(_OPEN + _LAST)


def append_script(publish: str) -> Script:
    """Return the script that appends and publishes with that command."""
    return Script((_OPEN + _APPEND).replace("'PUBLISH'", f"'{publish}'"))
