"""``python member.py <url of a TCPBroker> <lease> <user> [fork]``: present until told to go.

It says ``here`` when it is, and ends properly when its standard input does. With ``fork`` a child
process, made after that, is present as ``<user>'s child``, too, and outlives its parent.
"""

# ruff: noqa: T201  what it prints is for its test

import asyncio
import os
import sys

from tcp_broker import TCPLayer

layer = TCPLayer(sys.argv[1], presence_lease=float(sys.argv[2]))


async def stay(user: str, word: str) -> None:
    async with layer.channel() as channel:
        await layer.group_add("room", channel.name, presence={"user": user})
        print(word, flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await layer.close()


user = sys.argv[3]
if "fork" in sys.argv:
    own = layer.sync.new_channel()
    layer.sync.group_add("room", own, presence={"user": user})
    if os.fork() == 0:
        asyncio.run(stay(f"{user}'s child", "here"))
        os._exit(0)
    os.wait()
else:
    asyncio.run(stay(user, "here"))
