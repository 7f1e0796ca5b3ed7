"""What a benchmark writes, and what is computed from it; nothing here measures anything."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from benchmarks import comparisons, missed, results, scenarios, targets
from benchmarks.matrix import describe
from benchmarks.report import model, page
from benchmarks.sides import ENTRIES
from tests.benchmarks.sample import add, sample

CASES = {"joins": ("same group", "distinct groups")}
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


def limits(scenario: str, case: str, broker: str, measure: str) -> list[float]:
    """Return the limits of our figure in a case that a peer (and the bare loop) has measured."""
    result = sample()
    result.sides = [describe(each) for each in ENTRIES]
    known = {**result.scenarios["joins"], "figure": measure, "lower_is_better": measure != "rate"}
    result.scenarios, result.rows = {scenario: known}, []
    peer = {"redis": "fast-channels-1.1-redis", "memory": "channels-memory"}
    for side in (f"ours-{broker}", "bare", peer.get(broker, f"channels-{broker}")):
        add(result, scenario, case, side, **{measure: [10.0, 10.0]})
    found = [t for t in targets.of(result) if t["case"] == case and t["measure"] == measure]
    return [one.get("at_least", one.get("at_most", 0.0)) for one in found]


@pytest.mark.parametrize(
    ("scenario", "case", "broker", "limit"),
    [
        ("senders", "64 senders", "redis", 2.0),
        ("two_processes", "N=1, unbounded", "redis", 2.0),
        ("many_groups", "one sender", "redis", 2.0),
        ("many_groups", "one sender", "memory", 1.0),
        ("group_size", "N=1", "redis", 1.0),
        ("group_size", "N=1", "rabbitmq", 2.0),
        ("group_size", "N=1", "postgres", 2.0),
        ("group_size", "N=1", "nats", 1.0),
        ("joins", "distinct groups", "rabbitmq", 2.0),
        ("joins", "same group", "rabbitmq", 1.0),
    ],
)
def test_twice_the_best_peers_rate_is_wanted_where_the_brokers_way_is_most_of_the_cost(
    scenario: str, case: str, broker: str, limit: float
) -> None:
    assert limits(scenario, case, broker, "rate") == [limit]


def test_a_latency_and_a_size_have_to_be_no_worse_than_the_best_peers() -> None:
    assert limits("latency", "500 a second", "rabbitmq", "p50_us") == [1.0]
    assert limits("footprint", "same group", "rabbitmq", "bytes") == [1.0]


def test_the_servers_limits_are_for_ten_broadcasts_a_second_to_five_hundred_clients() -> None:
    assert limits("websockets", "500 clients, websockets", "redis", "cpu_us") == [0.8, 1.45]
    sansio = "500 clients, websockets-sansio"
    assert limits("websockets", sansio, "redis", "cpu_us") == [0.8, 1.6]
    assert limits("websockets", "5,000 clients, websockets-sansio", "redis", "cpu_us") == [1.0]


def test_a_ratio_near_its_limit_is_for_more_rounds_to_decide_and_one_far_from_it_is_not() -> None:
    result = sample()
    assert targets.deciders(result, "lone") == {"ours-redis", "redis-py"}
    assert targets.deciders(result, "websockets") == {"ours-redis", "litestar-redis"}
    assert targets.deciders(result, "senders") == set()


def test_every_missed_target_has_its_floor_and_its_reason_on_the_page() -> None:
    result = sample()
    result.targets = targets.of(result)
    text = "<!-- figures: missed -->\n<!-- end of figures -->"
    lines = page.refreshed(text, result).splitlines()[1:-1]
    shown = [line for line in lines[2:] if line.startswith("|")]
    assert [line.split(" | ")[0] for line in shown] == ["| lone", "| websockets"]
    lone = next(line for line in lines if line.startswith("| lone"))
    assert lone.endswith("| redis-py | 1.5 | ≤ 1.2 | 1.5, redis-py | - | 1 |")
    assert any(line.startswith("1. The broker's round trip") for line in lines)


def test_a_miss_on_both_sides_of_its_limit_is_called_one() -> None:
    one = {"scenario": "lone", "case": "one at a time", "ours": "ours-redis", "against": "redis-py"}
    assert not missed.why({**one, "at_most": 1.2, "spread": [1.3, 1.5]}).endswith(missed.NOISE)
    assert missed.why({**one, "at_most": 1.2, "spread": [1.1, 1.5]}).endswith(missed.NOISE)


def test_each_scenario_with_targets_has_a_reason_of_its_own() -> None:
    last = missed.REASONS[-1].text
    for name in set(scenarios.NAMES) - set(targets.UNMEASURED):
        one = {"scenario": name, "case": "", "ours": "", "against": "", "spread": [1.0, 1.0]}
        reasons = {
            missed.why({**one, "at_least": 2.0, "case": case}) for case in CASES.get(name, "a")
        }
        assert reasons.isdisjoint({"", last}), name


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
    text = "<!-- figures: ahead -->\n<!-- end of figures -->"
    line = "| senders | 64 senders, rate | Redis | broadcaster | 0.55 | 0.5 to 0.6 |"
    assert line in page.refreshed(text, result)
    printed = targets.render(result)
    assert "channels-redis-pubsub  10     10 to 10" in printed
    assert "broadcaster-redis      0.55" in printed


def test_a_newcomer_sees_how_many_times_better_we_are_than_the_best_other_library() -> None:
    result = sample()
    result.targets = targets.of(result)
    text = page.refreshed("<!-- figures: rivals -->\n<!-- end of figures -->", result)
    [redis] = [line for line in text.splitlines() if line.startswith("| Redis")]
    assert "| 10 (channels_redis pub/sub) |" in redis  # of a rate
    assert redis.endswith("| 0.952 (Litestar pub/sub) |")  # of a cost: theirs is lower


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
    text = "a\n<!-- figures: idle -->\nold\n<!-- end of figures -->\nb\n"
    new = page.refreshed(text, sample())
    assert new.startswith("a\n<!-- figures: idle -->\n| broker | library | idle |")
    assert new.endswith("| Redis | **Fast Channels** | 20 |\n<!-- end of figures -->\nb\n")
    assert page.refreshed(new, sample()) == new


def test_the_list_names_every_scenario_comparison_and_side() -> None:
    command = [sys.executable, "-m", "benchmarks", "--list"]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = {line.split()[0] for line in shown.splitlines() if line.startswith("  ")}
    assert names == {*scenarios.NAMES, *comparisons.NAMES, *(entry.name for entry in ENTRIES)}
