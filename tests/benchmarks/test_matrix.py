"""A run goes over all sides and comes to its end; how fast anything is does not matter here."""

import time
from dataclasses import replace
from pathlib import Path

from benchmarks.launch import brokers
from benchmarks.matrix import Run, describe, fits
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


def test_what_takes_little_is_measured_more_often_of_those_who_decide(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    run = Run(Result("full"), path, patience=10.0, decide=lambda result, name: {"ours-memory"})
    sides = [entry("bare"), entry("ours-memory")]
    run.result.sides = [describe(side) for side in sides]
    short = {"seconds": 0.1, "messages": 10}
    lone = replace(plan("lone"), full=short, rounds=1, again={"messages": 5}, more=2)
    run.begin("lone", lone)
    with brokers.running("memory") as none:
        run.workers("lone", lone, none, sides, time.monotonic() + 600)
    [bare, ours] = run.result.of("lone")
    assert bare.measures["expected"] == [10]
    assert ours.measures["expected"] == [10, 5, 5]


def test_no_round_begins_that_would_not_end_in_time() -> None:
    sides, now = [entry("bare"), entry("ours-memory")], time.monotonic()
    took = {"bare": 30.0, "ours-memory": 30.0, "channels-memory": 3_000.0}
    assert fits(took, sides, now + 60)
    assert not fits(took, sides, now + 30)
    assert not fits({}, sides, now - 1)


def test_a_side_that_takes_too_long_is_a_reason(tmp_path: Path) -> None:
    run = Run(Result("quick"), tmp_path / "result.json", patience=0.001)
    lone = plan("lone")
    run.begin("lone", lone)
    with brokers.running("memory") as none:
        run.workers("lone", lone, none, [entry("bare")], time.monotonic() + 600)
    [bare] = run.result.of("lone")
    assert bare.reason == "not measured within 0.004 s"


def test_a_run_goes_on_after_a_scenario_that_was_not_measured_in_time(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    Run(Result("quick"), path, only={"bare"}, patience=0.001).all(["lone", "joins"])
    reasons = {row.scenario: row.reason for row in read(path).rows}
    assert set(reasons) == {"lone", "joins"}
    assert all(reasons.values())


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
