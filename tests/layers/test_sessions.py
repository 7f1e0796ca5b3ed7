"""Sessions: opened at first use, once, and closed however that is interrupted."""

import asyncio
from typing import Any

import pytest

from fast_channels.exceptions import (
    BackendUnavailable,
    ChannelNotFound,
    InvalidChannelLayerError,
    LayerClosed,
)
from fast_channels.layers import BaseChannelLayer, Inbox, InMemoryChannelLayer

from .backends import DownBackend, Make, UnansweringBackend, WatchedBackend, layers
from .clock import virtual_time
from .waiting import message, numbers, receive, round_trip, soon, turns, until

# --- opening ----------------------------------------------------------------------------------


async def test_a_layer_opens_at_first_use_and_once(make: Make) -> None:
    layer = make()
    assert layer.backends == []
    await asyncio.gather(*(layer.group_send("group", message(n)) for n in range(10)))
    assert len(layer.backends) == 1
    assert layer.backend.calls.count("open") == 1
    await layer.open()
    assert layer.backend.calls.count("open") == 1


async def test_who_opened_the_layer_waits_for_no_turn_of_the_loop_at_later_calls() -> None:
    layer = InMemoryChannelLayer()
    channel = await layer.new_channel()
    for group in ("new", "newer"):
        joining = layer.group_add(group, channel)
        with pytest.raises(StopIteration):  # it returned, and waited for nothing
            joining.send(None)
    await layer.close()


async def test_first_uses_at_once_go_on_in_the_order_in_which_they_came(make: Make) -> None:
    reader = make(capacity=1_000)
    channel = await reader.new_channel()
    await reader.group_add("group", channel)
    for pause in range(8):
        layer = make(broker=reader.broker)
        sends = []
        for n in range(50):
            sends.append(asyncio.create_task(layer.group_send("group", message(n))))
            if n == 25:
                await turns(pause)
        await soon(asyncio.gather(*sends))
        assert numbers(await receive(reader, channel, 50)) == list(range(50)), pause


async def test_a_cancelled_first_use_does_not_end_the_opening_for_others(make: Make) -> None:
    layer = make()
    uses = [asyncio.create_task(layer.group_send("group", message(n))) for n in range(3)]
    await asyncio.sleep(0)
    uses[0].cancel()
    await asyncio.wait(uses)
    assert [use.cancelled() for use in uses] == [True, False, False]
    assert len(layer.backends) == 1


async def test_a_broker_that_is_down_is_an_error_for_everybody_and_tried_anew_later(
    make: Make,
) -> None:
    down = True

    class Backend(DownBackend):
        async def open(self, inbox: Inbox, /) -> None:
            await asyncio.sleep(0)
            if down:
                await super().open(inbox)
            await WatchedBackend.open(self, inbox)

    layer = make(Backend)
    results = await asyncio.gather(
        *(layer.group_send("group", message(n)) for n in range(3)), return_exceptions=True
    )
    assert [str(result) for result in results] == ["no broker at memory://nowhere"] * 3
    assert layer.stats()["sessions"] == 0
    assert [backend.calls for backend in layer.backends] == [["open", "close"]]
    down = False
    await layer.group_send("group", message(0))
    assert len(layer.backends) == 2


@virtual_time
async def test_a_broker_that_does_not_answer_is_an_error_in_time() -> None:
    async with layers() as make:
        layer = make(UnansweringBackend, send_timeout=3.0)
        start = asyncio.get_running_loop().time()
        with pytest.raises(BackendUnavailable) as caught:
            await layer.send("specific.0!1", message(0))
        assert asyncio.get_running_loop().time() - start < 3.5
        assert str(caught.value) == f"{layer} could not be opened: no answer within 3 s"
        assert layer.backend.calls == ["open", "close"]


async def test_a_backend_that_cannot_subscribe_is_closed_again(make: Make) -> None:
    class Backend(WatchedBackend):
        async def subscribe(self, topics: Any, /) -> None:
            raise BackendUnavailable("no subscriptions today")

    layer = make(Backend)
    with pytest.raises(BackendUnavailable, match="no subscriptions today"):
        await layer.open()
    assert layer.backend.calls == ["open", "close"]


async def test_a_layer_without_a_backend_says_what_to_override() -> None:
    class Bare(BaseChannelLayer):
        pass

    with pytest.raises(InvalidChannelLayerError) as caught:
        await Bare().send("specific.0!1", message(0))
    assert str(caught.value) == (
        "Bare has no backend: override create_backend(), or all of send, receive, new_channel, "
        "group_add, group_discard, group_send and flush"
    )


# --- closing ----------------------------------------------------------------------------------


async def test_a_closed_layer_refuses_and_says_what_to_do(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.close()
    text = "<Layer prefix='fc'> is closed; call await layer.open() to use it again"
    for call in (
        lambda: layer.send(channel, message(0)),
        lambda: layer.receive(channel),
        lambda: layer.new_channel(),
        lambda: layer.group_add("group", channel),
        lambda: layer.group_discard("group", channel),
        lambda: layer.group_send("group", message(0)),
        lambda: layer.flush(),
        lambda: layer.channel().__aenter__(),
    ):
        with pytest.raises(LayerClosed) as caught:
            await call()
        assert str(caught.value) == text


async def test_a_closed_layer_works_again_when_it_is_opened(make: Make) -> None:
    layer = make()
    for _ in range(3):
        assert await round_trip(layer) == 1
        await layer.close()
        assert layer.stats()["sessions"] == 0
        await layer.open()
    assert len(layer.backends) == 4


async def test_a_channel_from_before_is_gone_when_the_layer_is_opened_again(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.close()
    await layer.open()
    with pytest.raises(ChannelNotFound, match="belongs to another process or event loop"):
        await layer.receive(channel)


async def test_closing_twice_or_unopened_is_no_error(make: Make) -> None:
    layer = make()
    await layer.close()
    await layer.open()
    await asyncio.gather(*(layer.close() for _ in range(3)))
    await layer.close()
    assert layer.backend.calls.count("close") == 1


async def test_readers_that_wait_learn_that_the_layer_is_closed(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    async with layer.channel() as other:
        reading = [
            asyncio.create_task(layer.receive(channel)),
            asyncio.create_task(layer.receive(channel)),
            asyncio.create_task(other.receive()),
        ]
        await turns()
        await layer.close()
        for each in reading:
            with pytest.raises(LayerClosed, match=r"<Layer prefix='fc'> was closed"):
                await soon(each)


async def test_a_layer_closed_while_it_opens_ends_up_closed(make: Make) -> None:
    layer = make()
    using = [asyncio.create_task(layer.group_send("group", message(n))) for n in range(3)]
    await asyncio.sleep(0)
    await layer.close()
    results = await soon(asyncio.gather(*using, return_exceptions=True))
    assert all(result is None or isinstance(result, LayerClosed) for result in results)
    assert layer.stats()["sessions"] == 0
    assert layer.backend.calls[-1] == "close"
    await layer.open()
    assert await round_trip(layer) == 1


async def test_a_cancelled_close_still_closes(make: Make) -> None:
    layer = make()
    await layer.open()
    layer.backend.may_publish.clear()
    sending = asyncio.create_task(layer.group_send("group", message(0)))
    await until(lambda: layer.backend.published)
    closing = asyncio.create_task(layer.close())
    await turns()
    closing.cancel()
    await asyncio.wait([closing])
    layer.backend.may_publish.set()
    await asyncio.wait([sending])
    await layer.close()
    assert layer.backend.calls.count("close") == 1
    assert layer.backend.calls[-1] == "close"


async def test_a_backend_that_fails_to_close_does_not_keep_the_layer_open(make: Make) -> None:
    class Backend(WatchedBackend):
        async def close(self) -> None:
            self.calls.append("close")
            raise OSError("could not say goodbye")

    layer = make(Backend)
    channel = await layer.new_channel()
    reading = asyncio.create_task(layer.receive(channel))
    await turns()
    with pytest.raises(OSError, match="could not say goodbye"):
        await layer.close()
    with pytest.raises(LayerClosed):
        await soon(reading)
    assert layer.stats()["sessions"] == 0
