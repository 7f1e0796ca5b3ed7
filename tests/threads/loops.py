"""Programs that use one layer from several event loops and threads."""

import asyncio
import threading

from asgiref.sync import async_to_sync
from talking import PATIENCE, in_threads, members, message, nothing_is_left, sockets, talk

from fast_channels import plugins
from fast_channels.layers import BaseChannelLayer


def loops_and_threads(layer: BaseChannelLayer) -> None:
    """Three loops listen; five threads send by ``async_to_sync`` and five by ``layer.sync``."""

    def send(thread: int) -> None:
        group_send = layer.sync.group_send if thread % 2 else async_to_sync(layer.group_send)
        for n in range(20):
            group_send("all", message([thread, n]))

    with members(layer, 3, 200) as got:
        in_threads(10, send)
    assert len(got) == 6
    for numbers in got:
        for thread in range(10):
            assert [n for sender, n in numbers if sender == thread] == list(range(20))
    assert layer.stats()["sessions"] == 1
    nothing_is_left(layer)


def one_layer_everywhere(layer: BaseChannelLayer) -> None:
    """Three loops and ten threads make, use and discard channels and groups, all at once."""

    def use(number: int) -> None:
        for n in range(5):
            if number < 3:
                asyncio.run(talk(layer, n))
            elif number % 2:
                async_to_sync(talk)(layer, n)
            else:
                name = layer.sync.new_channel()
                layer.sync.group_add(f"own.{number}", name)
                layer.sync.group_send(f"own.{number}", message(n), exclude="somebody!else")
                assert layer.sync.receive(name, timeout=PATIENCE)["n"] == n
                layer.sync.group_discard(f"own.{number}", name)

    in_threads(13, use)
    assert layer.stats()["sessions"] == 1
    assert layer.stats()["sent"] == 5 * (3 * 2 + 5 * 2 + 5)
    nothing_is_left(layer)


def async_to_sync_a_thousand_times(layer: BaseChannelLayer) -> None:
    def send(thread: int) -> None:
        for n in range(100):
            async_to_sync(layer.group_send)("all", message([thread, n]))

    with members(layer, 1, 1_000, channels=1) as got:
        in_threads(10, send)
    assert sorted(got[0]) == [[thread, n] for thread in range(10) for n in range(100)]
    assert layer.stats()["sent"] == 1_000
    nothing_is_left(layer)


def sync_a_thousand_times(layer: BaseChannelLayer) -> None:
    def send(thread: int) -> None:
        for n in range(100):
            layer.sync.group_send("all", message([thread, n]))

    with members(layer, 1, 1_000, channels=1) as got:
        in_threads(10, send)
    assert sorted(got[0]) == [[thread, n] for thread in range(10) for n in range(100)]
    assert layer.stats()["published"] < 1_000, "concurrent sends share no frames"
    nothing_is_left(layer)


def run_after_run(layer: BaseChannelLayer) -> None:
    for n in range(50):
        asyncio.run(talk(layer, n))
        assert sockets() == [], n
        assert layer.stats()["sessions"] == 0
    assert layer.stats()["sent"] == 100
    nothing_is_left(layer)


def plugins_are_loaded_once(_: BaseChannelLayer) -> None:
    """Ten loops tell at the same moment, each for the first time, that a session was opened."""
    ready = threading.Barrier(10, timeout=PATIENCE)
    managers: list[object] = []

    def load(number: int) -> None:
        ready.wait()
        managers.append(plugins.manager())

    in_threads(10, load)
    assert [each for each in managers if each is not managers[0]] == []
