"""Which stream keeps a prefix's history, where servers let two pass that were made at once."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fast_channels_nats.kept_stream import KeptStream
from fast_channels_nats.requests import Requests

LARGE = {"max_msgs_per_subject": 1 << 20, "max_age": 1 << 60, "duplicate_window": 1 << 60}


class Link:
    """A link to one server."""

    async def ready(self) -> Any:
        return SimpleNamespace(info={})


class Answers:
    """JetStream that lists another process's stream a moment after this one's was made."""

    def __init__(self, rival: str) -> None:
        self.link = Link()
        self.streams: list[str] = []
        self._rival = rival

    async def call(self, name: str, /, **_: Any) -> dict[str, Any]:
        what, _, stream = name.rpartition(".")
        if what == "STREAM.CREATE":
            self.streams.append(stream)
            asyncio.get_running_loop().call_later(0.05, self.streams.append, self._rival)
        elif what == "STREAM.DELETE":
            self.streams.remove(stream)
        return {"streams": list(self.streams), "config": LARGE}


@pytest.mark.parametrize("rival", ["fc=h+0", "fc=h+z"])
async def test_of_two_streams_that_are_made_at_once_all_use_the_same(rival: str) -> None:
    answers = Answers(rival)
    stream = KeptStream("fc:h", cast("Requests", answers), None)
    await stream.make()
    own = next((name for name in answers.streams if name != rival), None)
    assert stream.name == (rival if rival == "fc=h+0" else own)
    assert (own is None) == (rival == "fc=h+0"), "each process deletes its own alone"
