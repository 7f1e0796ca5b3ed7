"""A run goes over all sides and comes to its end; how fast anything is does not matter here."""

from pathlib import Path

from benchmarks.matrix import Run
from benchmarks.results import Result, read
from benchmarks.scenarios import NAMES, plan, websockets
from benchmarks.sides import entry


def test_a_run_measures_each_side_and_writes_what_it_found(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    Run(Result("quick"), path, only={"bare", "ours-memory"}, patience=10.0).all(["lone"])
    result = read(path)
    measured = {row.side: row for row in result.of("lone")}
    assert set(measured) == {"bare", "ours-memory"}
    for row in measured.values():
        assert row.lost == 0.0
        assert row.middle("p50_us")
        assert row.middle("cpu_us")
    assert result.versions["libraries"]["here"]["fast-channels"]


def test_a_side_that_takes_too_long_is_a_reason_and_does_not_end_the_run(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    Run(Result("quick"), path, only={"bare"}, patience=0.001).all(["lone", "joins"])
    result = read(path)
    reasons = {row.scenario: row.reason for row in result.rows}
    assert reasons["lone"] == "not measured within 0.004 s"
    assert reasons["joins"]


def test_the_bare_application_takes_its_turns_among_those_on_redis() -> None:
    bare, memory, redis = map(entry, ("bare", "ours-memory", "ours-redis"))
    sides = {"memory": [bare, memory], "redis": [redis]}
    websockets.arrange(sides)
    assert sides == {"memory": [memory], "redis": [bare, redis]}


def test_the_bare_application_is_measured_where_nothing_is_on_redis() -> None:
    sides = {"memory": [entry("bare")], "redis": []}
    websockets.arrange(sides)
    assert sides == {"memory": [entry("bare")], "redis": []}


def test_a_run_ends_within_the_time_that_is_told_of_it() -> None:
    quick, full = (sum(plan(name).budget[mode] for name in NAMES) for mode in (False, True))
    assert quick <= 5 * 60
    assert full <= 35 * 60
