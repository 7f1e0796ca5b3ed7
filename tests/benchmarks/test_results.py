"""What a benchmark writes, and what is computed from it; nothing here measures anything."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from benchmarks import model, report, results, scenarios, targets
from benchmarks.__main__ import COMPARISONS
from benchmarks.sides import ENTRIES
from tests.benchmarks.sample import add, sample

ROOT = Path(__file__).parents[2]


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    result = sample()
    result.targets = targets.of(result)
    result.write(tmp_path / "result.json")
    assert asdict(results.read(tmp_path / "result.json")) == asdict(result)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda whole: whole.update(schema=0), "a result of schema 1 is wanted"),
        (lambda whole: whole.pop("targets"), "too many or missing: ['targets']"),
        (lambda whole: whole["rows"][0].update(scenario="other"), "no such scenario"),
        (lambda whole: whole["rows"][0].update(side="other"), "no such side"),
        (lambda whole: whole["rows"][0]["measures"].update(speed=[1.0]), "unknown measures"),
        (lambda whole: whole["rows"][0].update(measures={}), "neither measured nor a reason"),
    ],
)
def test_what_is_no_result_is_refused_with_the_reason(spoil: object, complaint: str) -> None:
    whole = sample().as_dict()
    spoil(whole)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"result|row") as caught:
        results.check(whole)
    assert complaint in str(caught.value)


def best(scenario: str) -> tuple[str, float, bool]:
    """Return the peer that a scenario's target compares with, the ratio, and whether it is met."""
    found = [t for t in targets.of(sample()) if t["why"] == "the best peer"]
    [one] = [t for t in found if t["scenario"] == scenario]
    return one["against"], one["ratio"], one["met"]


def test_a_peer_that_lost_something_or_promises_less_is_not_the_best_one() -> None:
    assert best("senders") == ("channels-redis-pubsub", 10.0, True)


def test_what_a_peers_join_does_not_promise_counts_for_joins_alone() -> None:
    assert best("joins") == ("channels-redis-core", 1.25, True)
    assert best("senders")[0] == "channels-redis-pubsub"


def test_for_frames_of_websockets_the_best_peer_is_one_of_any_promise() -> None:
    assert best("websockets") == ("litestar-redis", 1.05, False)


def test_who_promises_less_or_lost_something_is_named_where_it_is_ahead() -> None:
    found = [(t["scenario"], t["against"], t["ratio"], t["why"]) for t in targets.ahead(sample())]
    assert found == [
        ("senders", "channels-redis-core", 0.611, "it lost 10.00%"),
        ("senders", "broadcaster-redis", 0.55, "it hands over text, no dicts"),
        ("joins", "channels-redis-pubsub", 0.5, "its join returns before the server has answered"),
        ("websockets", "litestar-redis", 1.05, "it hands over bytes, no dicts"),
    ]


def test_both_tables_stand_on_the_page_and_in_what_a_run_prints() -> None:
    result = sample()
    result.targets = targets.of(result)
    page = "<!-- figures: ahead -->\n<!-- end of figures -->"
    line = "| senders | 64 senders, rate | ours-redis | broadcaster-redis | 0.55 | 0.5 to 0.6 |"
    assert line in report.refreshed(page, result)
    printed = targets.render(result)
    assert "channels-redis-pubsub  10     10 to 10" in printed
    assert "broadcaster-redis      0.55" in printed


def test_a_missed_target_says_by_how_much() -> None:
    [lone] = [t for t in targets.of(sample()) if t["why"] == "the plain driver"]
    assert (lone["ratio"], lone["at_most"], lone["met"]) == (1.5, 1.2, False)


def test_what_we_lose_counts_unless_somebody_was_told() -> None:
    result = sample()
    silent = {t["scenario"]: t["met"] for t in targets.of(result) if t["measure"] == "lost"}
    assert silent["burst"] is True
    result.row("burst", "as it comes", "ours-redis").told = ""
    silent = {t["scenario"]: t["met"] for t in targets.of(result) if t["measure"] == "lost"}
    assert silent["burst"] is False


def test_a_broker_message_more_for_a_larger_group_misses_the_target() -> None:
    result = sample()

    def met() -> list[bool]:
        return [t["met"] for t in targets.of(result) if t["measure"] == "broker_messages"]

    assert met() == [True]
    add(result, "group_size", "N=10,000", "ours-redis", 10_000, broker_messages=[2.0, 2.0])
    assert met() == [False]


def test_the_model_finds_the_line_that_the_figures_lie_on() -> None:
    costs = model.costs(sample(), "redis")
    assert costs is not None
    assert costs.broker.fixed == pytest.approx(5)
    assert costs.broker.each == pytest.approx(2)
    room = model.Workload("a room", messages=1_000, members=1e6)
    needs = model.needs(costs, frame_us=10.0, workload=room, processes=100)
    assert needs.broker == pytest.approx(1_000 * (5 + 2 * 100) / 1e6)
    assert needs.python == pytest.approx(1_000 * (20 + 7 * 100 + 10 * 1e6) / 1e6)


def test_only_what_is_marked_as_a_figure_changes_on_a_page() -> None:
    page = "a\n<!-- figures: idle -->\nold\n<!-- end of figures -->\nb\n"
    new = report.refreshed(page, sample())
    assert new.startswith("a\n<!-- figures: idle -->\n| broker | library | idle |")
    assert new.endswith("| Redis | **Fast Channels** | 20 |\n<!-- end of figures -->\nb\n")
    assert report.refreshed(new, sample()) == new


def test_the_list_names_every_scenario_comparison_and_side() -> None:
    command = [sys.executable, "-m", "benchmarks", "--list"]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = {line.split()[0] for line in shown.splitlines() if line.startswith("  ")}
    assert names == {*scenarios.NAMES, *COMPARISONS, *(entry.name for entry in ENTRIES)}
