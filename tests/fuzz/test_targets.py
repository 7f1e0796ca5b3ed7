"""A short run of every target that ``make fuzz`` runs for longer, and what they must notice."""

from collections.abc import Callable

import pytest
from hypothesis import given
from tests.properties.budget import examples

from fast_channels.exceptions import BackendUnavailable

from .inputs import inputs, spoiled
from .run import attack
from .targets import TARGETS, Target


@pytest.mark.parametrize("name", TARGETS)
def test_what_a_target_begins_with_is_no_finding(name: str) -> None:
    target = TARGETS[name]
    for seed in (b"", *target.seeds):
        target.run(seed)


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found_in_a_few_examples(name: str) -> None:
    target = TARGETS[name]

    @given(inputs(target.seeds))
    @examples(40)
    def trial(data: bytes) -> None:
        target.run(data)

    trial()


def undocumented(data: bytes) -> None:
    if data[:1] == b"\x02":
        raise IndexError(data)


def unbounded(data: bytes) -> None:
    assert len(data) < 150


def unreachable(data: bytes) -> None:
    if b"\xff\xff" in data:
        raise BackendUnavailable("nobody asked a broker")


@pytest.mark.parametrize("run", [undocumented, unbounded, unreachable])
def test_a_target_with_a_mistake_is_found_and_its_input_told(run: Callable[[bytes], None]) -> None:
    finding = attack(Target("mistaken", run, (b"\x01\x02\x03\xff",)), seconds=20.0, seed=1)
    assert finding.data is not None
    with pytest.raises(Exception):  # noqa: B017, PT011  whatever it is, the input repeats it
        run(finding.data)
    assert len(finding.data) in (1, 2, 150)


def test_a_target_without_one_ends_in_time() -> None:
    finding = attack(Target("fine", lambda data: None, (b"seed",)), seconds=0.2, seed=1)
    assert (finding.data, finding.runs > 0) == (None, True)


def test_a_seed_is_spoiled_where_it_is_told() -> None:
    assert spoiled(b"abcdef", [("cut", 0.0, 2, b"x")]) == b"cdef"
    assert spoiled(b"abcdef", [("insert", 0.5, 1, b"x")]) == b"abcxdef"
    assert spoiled(b"abc", [("double", 0.0, 3, b"x"), ("flip", 0.0, 1, b"\x01")]) == b"`bcabc"
