"""A short chaos run; ``make chaos`` is the long one."""

from pathlib import Path

import pytest

from .brokers import BROKERS
from .faults import ROUND, schedule
from .run import Size, run

SEED = 9
SECONDS = 5
SMALL = Size(clients=18, publishers=2)


@pytest.mark.timeout(300)  # most of which is patience with what is lost
@pytest.mark.parametrize(
    "broker",
    [name if name == "redis" else pytest.param(name, marks=pytest.mark.long) for name in BROKERS],
)
async def test_nobody_misses_a_message_or_sees_one_twice(broker: str, tmp_path: Path) -> None:
    result = await run(broker, SECONDS, SEED, tmp_path, SMALL)
    assert not list(result.findings)
    assert set(result.faults) == set(ROUND)
    assert result.ledger.deliveries > result.ledger.messages > 100
    assert result.reconnects > 0


def test_the_same_seed_makes_the_same_faults() -> None:
    faults = schedule(1, 60, 3, 60)
    assert faults == schedule(1, 60, 3, 60) != schedule(2, 60, 3, 60)


@pytest.mark.parametrize("seconds", [5, 60])
def test_every_kind_of_fault_is_in_every_schedule(seconds: float) -> None:
    for seed in range(50):
        faults = schedule(seed, seconds, 3, 60)
        assert {fault.kind for fault in faults} == set(ROUND)
        assert all(fault.at < seconds for fault in faults)
