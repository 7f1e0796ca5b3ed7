"""Which stream keeps a prefix's history, where a server let two pass that were made at once."""

import json
import re
import time

import pytest
from nats.aio.client import Client
from tests.proxy import Proxy

from fast_channels.layers import HistoryPolicy

from .conftest import Make
from .rooms import history_streams
from .servers import Server

KEPT = {"*": HistoryPolicy(keep=10, ttl=60)}
CREATE = re.compile(rb"PUB \$JS\.API\.STREAM\.CREATE\.(\S+) (\S+) \d+\r\n(.*?)\r\n")


def created(name: str, taking: str, reply: str, config: bytes) -> bytes:
    """Return the command that makes the stream for one group, instead of for all of the prefix."""
    changed = json.loads(config)
    subjects = [each.replace("*", taking) for each in changed["subjects"]]
    changed |= {"name": name, "subjects": subjects}
    del changed["republish"]  # of all of the prefix
    body = json.dumps(changed)
    return f"PUB $JS.API.STREAM.CREATE.{name} {reply} {len(body)}\r\n{body}\r\n".encode()


@pytest.mark.parametrize("epoch", ["0", "z"])
async def test_of_two_streams_that_are_made_at_once_all_use_the_same(
    proxy: Proxy, server: Server, make: Make, prefix: str, epoch: str, operator: Client
) -> None:
    """A server refuses a stream that takes what another one does, but for a rare moment.

    Here each takes another group, so that it lets both pass every time.
    """
    rival, own = f"{prefix}=h+{epoch}", ""
    began = looked = 0.0

    def doubled(data: bytes) -> bytes:
        nonlocal own, began, looked
        made = CREATE.search(data)
        if made is None:
            if began and b" $JS.API.STREAM.NAMES " in data:
                looked = looked or time.monotonic()
            return data
        began = time.monotonic()
        own, reply, config = made[1].decode(), made[2].decode(), made[3]
        first, second = sorted([own, rival])
        both = created(first, "room", reply if first == own else "nobody", config)
        both += created(second, "other", reply if second == own else "nobody", config)
        return data[: made.start()] + both + data[made.end() :]

    proxy.rewrite = doubled
    layer, other = (make(each, history=KEPT) for each in (proxy.url, server.url))
    await layer.group_send("room", {"type": "kept"})
    assert await other.group_history("room") == [{"type": "kept"}]
    found = await history_streams(operator, prefix)
    assert looked - began > 0.2, "others are waited for that are made in that moment"
    assert found.keys() == ({rival} if rival < own else {own, rival}), "each deletes its own alone"
    assert found[min(own, rival)].state.messages == 1
