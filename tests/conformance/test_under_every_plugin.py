"""The kit works for an author whatever pytest plugin there is: a few clauses under each.

All clauses, from an installed wheel: ``test_as_an_author.py``.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from fast_channels.testing import BackendTests, LayerTests, QueueTests

from .author import ALONE, EVERYTHING, outcome, reports, same_outcome

SAMPLE = (
    BackendTests.test_every_byte_survives,
    QueueTests.test_a_worker_waits_until_a_job_comes,
    LayerTests.test_joining_twice_is_joining_once,
    LayerTests.test_one_layer_works_from_three_loops_in_three_threads,
    LayerTests.test_messages_flow_again_after_every_outage,
)


@pytest.mark.timeout(60)
def test_clauses_of_all_suites_run_alike_under_every_plugin(tmp_path: Path) -> None:
    names = " or ".join(clause.__name__ for clause in SAMPLE)
    printed = reports(sys.executable, tmp_path, EVERYTHING, "-k", names).values()
    assert same_outcome(printed).startswith("4 passed, 1 skipped, ")
    assert all("the broker lives in this process" in report for report in printed)


@pytest.mark.timeout(60)
def test_the_kit_may_be_imported_before_its_names_are(tmp_path: Path) -> None:
    """pytest warns of modules that it is told too late to rewrite."""
    first = "from fast_channels.testing.conformance import BackendTests as First\n"
    (tmp_path / "test_mine.py").write_text(first + EVERYTHING, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-W", "error", "-k", SAMPLE[0].__name__]
    done = subprocess.run(command, cwd=tmp_path, env=ALONE, capture_output=True, text=True)
    assert outcome(done.stdout).startswith("1 passed, ")
