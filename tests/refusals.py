"""Layers whose broker lets them in, or not: what is said then, without any password."""

import logging
from collections.abc import Generator

import pytest
from tests.waiting import soon

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import BaseChannelLayer

SECRET = "correct-horse-7"
"""A password that a test chooses."""

SECRETS = (SECRET, "kit-secret")
"""With the one of the tests' own servers."""


@pytest.fixture(autouse=True)
def no_secret_is_told(caplog: pytest.LogCaptureFixture) -> Generator[None]:
    """Nothing that was logged holds a password; so in every module that imports this."""
    caplog.set_level(logging.DEBUG)
    yield
    assert not [secret for secret in SECRETS if secret in caplog.text]


async def works(layer: BaseChannelLayer) -> None:
    """The layer carries a group's message and a job."""
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", {"type": "hello"})
    assert await soon(layer.receive(channel)) == {"type": "hello"}
    await layer.send("jobs", {"type": "job"})
    assert await soon(layer.receive("jobs")) == {"type": "job"}
    await layer.flush()


async def refused(layer: BaseChannelLayer) -> str:
    """Return what opening the layer raises; nothing of it holds a password."""
    with pytest.raises(BackendUnavailable) as caught:
        await layer.open()
    error: BaseException | None = caught.value
    while error is not None:
        assert not [secret for secret in SECRETS if secret in f"{error} {error!r}"]
        error = error.__cause__ or error.__context__
    return str(caught.value)
