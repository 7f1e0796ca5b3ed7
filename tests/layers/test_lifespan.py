"""``lifespan``: every layer is open inside and closed after, or the application does not start."""

import asyncio
from typing import Any

import pytest

from fast_channels import lifespan
from fast_channels.exceptions import BackendUnavailable, InvalidChannelLayerError, LayerClosed
from fast_channels.layers import ChannelLayerRegistry, Inbox

from .backends import DownBackend, Layer, Make, UnansweringBackend, WatchedBackend, layers
from .clock import virtual_time
from .waiting import receive, soon, turns


def registry_of(**by_alias: Any) -> ChannelLayerRegistry:
    registry = ChannelLayerRegistry()
    for alias, layer in by_alias.items():
        registry.register(alias, layer)
    return registry


async def test_every_layer_is_open_inside_and_closed_after(make: Make) -> None:
    first, second = make(), make()
    async with lifespan(registry=registry_of(first=first, second=second)):
        assert first.stats()["sessions"] == second.stats()["sessions"] == 1
        assert first.backend.calls[0] == "open"
    for layer in (first, second):
        assert layer.backend.calls[-1] == "close"
        with pytest.raises(LayerClosed):
            await layer.group_send("group", {"type": "x"})


async def test_it_may_be_given_the_application_and_start_again(make: Make) -> None:
    layer = make()
    for _ in range(2):
        async with lifespan(object(), registry=registry_of(default=layer)):
            await layer.group_send("group", {"type": "x"})


async def test_a_broker_that_is_down_fails_the_start_and_names_the_layer(make: Make) -> None:
    good, bad = make(), make(DownBackend)
    with pytest.raises(BackendUnavailable) as caught:
        async with lifespan(registry=registry_of(good=good, bad=bad)):
            pytest.fail("the application must not start")
    assert str(caught.value) == f"channel layer 'bad' ({bad}): no broker at memory://nowhere"
    assert good.backend.calls[-1] == "close"
    assert bad.backend.calls == ["open", "close"]


@virtual_time
async def test_a_broker_that_does_not_answer_fails_the_start_in_time() -> None:
    async with layers() as make:
        layer = make(UnansweringBackend, send_timeout=5.0)
        start = asyncio.get_running_loop().time()
        with pytest.raises(BackendUnavailable) as caught:
            async with lifespan(registry=registry_of(default=layer)):
                pytest.fail("the application must not start")
        assert asyncio.get_running_loop().time() - start < 5.5
        assert str(caught.value) == (
            f"channel layer 'default' ({layer}): {layer} could not be opened: no answer within 5 s"
        )


async def test_a_host_that_is_misspelt_fails_the_start_and_names_the_layer(make: Make) -> None:
    class Misspelt(WatchedBackend):
        async def open(self, inbox: Inbox, /) -> None:
            raise OSError("name or service not known")

    layer = make(Misspelt)
    with pytest.raises(InvalidChannelLayerError) as caught:
        async with lifespan(registry=registry_of(default=layer)):
            pytest.fail("the application must not start")
    assert str(caught.value) == (
        f"channel layer 'default' ({layer}) could not be opened: name or service not known"
    )


async def test_what_was_accepted_is_sent_before_the_end(make: Make) -> None:
    layer = make()
    reader = make(broker=layer.broker)
    channel = await reader.new_channel()
    await reader.group_add("group", channel)
    async with lifespan(registry=registry_of(default=layer)):
        layer.backend.may_publish.clear()
        sends = [
            asyncio.create_task(layer.group_send("group", {"type": "x", "n": n})) for n in range(3)
        ]
        await turns()
        asyncio.get_running_loop().call_soon(layer.backend.may_publish.set)
    await soon(asyncio.gather(*sends))
    assert [got["n"] for got in await receive(reader, channel, 3)] == [0, 1, 2]


async def test_an_exception_of_the_application_closes_the_layers_and_is_raised(make: Make) -> None:
    layer = make()
    with pytest.raises(ZeroDivisionError):
        async with lifespan(registry=registry_of(default=layer)):
            raise ZeroDivisionError
    assert layer.backend.calls[-1] == "close"


async def test_without_layers_it_does_nothing() -> None:
    async with lifespan(registry=ChannelLayerRegistry()):
        pass


async def test_a_layer_of_the_upstream_kind_opens_by_itself(make: Make) -> None:
    class Upstream:
        async def send(self, channel: str, message: Any) -> None: ...
        async def receive(self, channel: str) -> Any: ...
        async def new_channel(self, prefix: str = "specific") -> str: ...

    async with lifespan(registry=registry_of(default=Upstream(), other=make())):
        pass


async def test_a_layer_is_shown_by_what_it_is(make: Make) -> None:
    assert repr(make(prefix="app")) == "<Layer prefix='app'>"
    assert isinstance(make(), Layer)
