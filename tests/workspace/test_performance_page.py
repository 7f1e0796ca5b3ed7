"""The performance page shows the committed result and nothing else."""

import re
from pathlib import Path

from benchmarks import results, scenarios, targets
from benchmarks.report.page import refreshed

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "performance.md").read_text()
RESULT = results.read(ROOT / "benchmarks" / "results" / "full.json")


def test_every_figure_on_the_page_is_that_of_the_committed_result() -> None:
    assert refreshed(PAGE, RESULT) == PAGE, "run: make bench-plots"


def test_the_committed_targets_are_those_of_the_committed_rows() -> None:
    assert targets.of(RESULT) == RESULT.targets


def test_every_scenario_was_run_and_is_on_the_page() -> None:
    assert set(RESULT.scenarios) == set(scenarios.NAMES)
    shown = {name.replace("-", "_") for name in re.findall(r"<!-- figures: ([\w-]+) -->", PAGE)}
    assert set(scenarios.NAMES) - {"processes"} <= shown  # its figures are the model's


def test_every_picture_on_the_page_was_drawn_and_every_one_drawn_is_shown() -> None:
    shown = set(re.findall(r"\(images/performance/([\w-]+\.png)\)", PAGE))
    drawn = {path.name for path in (ROOT / "docs" / "images" / "performance").glob("*.png")}
    assert shown == drawn
