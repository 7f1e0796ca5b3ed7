"""``fast-channels bench``: numbers that hang together, from each broker."""

import json
from pathlib import Path

import pytest

from .commands import here, on_a_terminal, run
from .conftest import BROKERS, Find
from .strangers import install

pytestmark = pytest.mark.timeout(90)
QUICK = ("--seconds", "0.2", "--senders", "8", "--members", "5")

LOSING = """
from fast_channels.layers import BaseChannelLayer
from fast_channels.layers.in_memory import MemoryBackend, MemoryBroker
from fast_channels_tools import bench

BROKER = MemoryBroker()
bench.PATIENCE = 0.2

class Backend(MemoryBackend):
    async def publish(self, publications):
        pass

class Losing(BaseChannelLayer):
    def __init__(self, url=None, **options):
        super().__init__(**options)
    def create_backend(self):
        return Backend(BROKER)
"""


@pytest.mark.parametrize("broker", ["memory", *BROKERS])
def test_numbers_hang_together(broker: str, url_of: Find) -> None:
    done = here("bench", url_of(broker), *QUICK, "--json")
    assert (done.returncode, done.stderr) == (0, ""), done
    report = json.loads(done.stdout)
    assert 0 < report["latency"]["median"] <= report["latency"]["p99"]
    assert report["latency"]["messages"] > 0
    assert report["sending"]["senders"] == 8
    assert report["delivering"]["members"] == 5
    assert report["delivering"]["messages"] % 5 == 0
    for part in ("sending", "delivering"):
        numbers = report[part]
        took = numbers["messages"] / numbers["per_second"]
        assert took >= 0.19
        assert 0 < numbers["cpu"] * numbers["messages"] < 4 * took


def test_people_get_three_lines() -> None:
    done = here("bench", "memory://", *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    url, *lines = done.stdout.splitlines()
    assert url == "memory://"
    assert [line.split()[0] for line in lines] == ["latency", "sending", "delivering"]
    assert "deliveries/s to 5 members" in lines[2]


def test_a_terminal_gets_a_progress_bar_for_each_part() -> None:
    shown = on_a_terminal("bench", "memory://", *QUICK)
    before = shown.partition("memory://")[0]
    assert all(part in before for part in ("latency", "sending", "delivering"))
    assert "deliveries/s" in shown.splitlines()[-1]


def test_messages_that_are_lost_are_status_1(tmp_path: Path) -> None:
    install(tmp_path, "fc_losing", {"losing": "Losing"}, module=LOSING)
    done = run("bench", "losing://host", *QUICK, site=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    expected = "fast-channels: a message that the broker took did not come within 0.2 s\n"
    assert done.stderr == expected
