"""Behind PgBouncer in transaction mode: what is told, and what cures it."""

from collections.abc import Generator

import pytest
from tests.waiting import soon, until

from fast_channels.exceptions import BackendUnavailable

from .conftest import Make
from .servers import Server, pooled, terminate


@pytest.fixture(scope="module")
def pooler(server: Server) -> Generator[str]:
    """The URL of a PgBouncer before the shared server."""
    with pooled(server) as url:
        yield url


@pytest.mark.long  # test_bad_input.py has what is told, without a pooler
async def test_a_pooler_that_swallows_notifications_is_told_at_opening(
    pooler: str, make: Make
) -> None:
    for _ in range(2):  # also when its connections were used before
        with pytest.raises(BackendUnavailable) as caught:
            await make(pooler).open()
        assert "LISTEN has no effect" in str(caught.value)
        assert "PgBouncer in transaction mode" in str(caught.value)
        assert "listen_url" in str(caught.value)
        assert Server.password not in str(caught.value)


async def test_a_listen_url_cures_a_pooler(
    pooler: str, server: Server, make: Make, prefix: str
) -> None:
    here = make(pooler, listen_url=f"{server.url}?application_name={prefix}")
    there = make(server.url)
    channel, own = await there.new_channel(), await here.new_channel()
    await there.group_add("room", channel)
    await here.group_add("room", own)
    for n in range(200):  # whatever connection of the pool each takes
        await here.group_send("room", {"type": "hello", "n": n, "data": b"x" * n * 100})
        for layer, name in ((there, channel), (here, own)):
            assert (await soon(layer.receive(name)))["n"] == n
    await here.send("jobs", {"type": "job"})
    assert await soon(here.receive("jobs")) == {"type": "job"}
    await terminate(server, prefix)
    await until(lambda: here.stats()["gaps"] >= 1)
    await there.group_send("room", {"type": "last"})
    assert await soon(here.receive(own)) == {"type": "channels.gap", "group": "room"}
    assert await soon(here.receive(own)) == {"type": "last"}
