"""Workers are heard, whatever becomes of them; how fast anything is does not matter here."""

import importlib
import json
import sys

import pytest
from benchmarks.launch.child import WorkerFailed, heard, measure
from benchmarks.sides import COMPARED, ENTRIES, entry

SIDE = (sys.executable, "workers.side", "uvloop")


def test_a_case_of_the_comparisons_hands_its_figures_over() -> None:
    params = json.dumps({"groups": 2, "seconds": 0.1})
    figures = measure(*SIDE, "ours-memory", "comparisons.cases:arrive", "memory://", params)
    assert set(figures) == {"rate", "cpu_us", "lost"}
    assert figures["lost"] == 0


def test_a_scenario_tells_rows_and_is_answered_what_the_broker_counts() -> None:
    asked: list[dict[str, float]] = []

    def counters() -> dict[str, float]:
        asked.append({"cpu": float(len(asked)), "messages": 7.0 * len(asked)})
        return asked[-1]

    params = json.dumps({"messages": 10, "seconds": 0.1})
    args = ("ours-memory", "scenarios.lone:measure", "memory://", params)
    row, done = heard(*SIDE, *args, counters=counters)
    assert len(asked) == 2
    assert row["measures"]["broker_messages"] == pytest.approx(7.0 / row["measures"]["expected"])
    assert done["done"]


def test_a_worker_that_ends_early_has_failed_with_its_last_words() -> None:
    with pytest.raises(WorkerFailed, match="it failed: KeyError: 'nobody'"):
        list(heard(*SIDE, "nobody", "scenarios.lone:measure", "memory://", "{}"))


def test_every_side_has_a_class_and_a_name_of_its_own() -> None:
    known = (*ENTRIES, *COMPARED)
    assert len({one.name for one in known}) == len(known)
    for one in known:
        assert entry(one.name) is one
        if one.role != "tool":
            module, _, name = one.source.partition(":")
            assert getattr(importlib.import_module(f"benchmarks.sides.{module}"), name)
