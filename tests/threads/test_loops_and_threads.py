"""One layer object, used from several event loops and many threads at once."""

import pytest
from tests.tcp_broker import TCPBroker

from .conftest import Play


@pytest.fixture(params=["tcp", "memory"])
def url(request: pytest.FixtureRequest, broker: TCPBroker) -> str:
    return broker.url if request.param == "tcp" else "memory://"


def test_members_in_three_loops_get_everything_from_ten_threads_once_and_in_order(
    play: Play, broker: TCPBroker, url: str
) -> None:
    play("loops_and_threads", url=url)
    assert broker.dropped == 0


def test_three_loops_and_ten_threads_use_one_layer_at_once(
    play: Play, broker: TCPBroker, url: str
) -> None:
    play("one_layer_everywhere", url=url)
    assert broker.dropped == 0


def test_a_thousand_async_to_sync_from_ten_threads_leave_nothing_open(
    play: Play, broker: TCPBroker
) -> None:
    play("async_to_sync_a_thousand_times", dev=False)
    assert broker.dropped == 0
    assert broker.total == 1_001
    assert broker.peak < 30  # 11 in the process; the broker notices an end when it gets to it


def test_a_thousand_sends_by_layer_sync_from_ten_threads_need_one_connection(
    play: Play, broker: TCPBroker
) -> None:
    play("sync_a_thousand_times")
    assert (broker.total, broker.dropped) == (2, 0)  # the other is the listening loop's


def test_fifty_runs_of_asyncio_leave_nothing_open(play: Play, broker: TCPBroker) -> None:
    play("run_after_run")
    assert (broker.total, broker.dropped) == (50, 0)


def test_plugins_are_loaded_once_however_many_loops_open_a_session_at_once(play: Play) -> None:
    play("plugins_are_loaded_once")
