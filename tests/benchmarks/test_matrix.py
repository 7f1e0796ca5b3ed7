"""A run goes over all sides and comes to its end; how fast anything is does not matter here."""

from pathlib import Path

from benchmarks.matrix import Run
from benchmarks.results import Result, read


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
