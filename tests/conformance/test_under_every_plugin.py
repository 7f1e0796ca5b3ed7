"""The kit works for an author from an installed wheel, whatever pytest plugin there is.

With what an empty environment has: ``test_as_an_author.py``.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .author import ALONE, BACKEND, EVERYTHING, UV, built, outcome, reports, run, same_outcome
from .subject import clauses

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has the installed wheel of core, and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    wheel = built(tmp_path_factory.mktemp("dist"))
    run(UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--target", folder, wheel)
    assert (folder / "fast_channels" / "testing").is_dir()
    return folder


def test_every_clause_runs_alike_under_every_plugin(site: Path, tmp_path: Path) -> None:
    where = (
        f"\n\ndef test_the_wheel_is_used():\n    assert {str(site)!r} in fast_channels.__file__\n"
    )
    suite = f"import fast_channels\n{EVERYTHING}{where}"
    printed = reports(sys.executable, tmp_path, suite, site).values()
    counts = re.fullmatch(r"(\d+) passed, (\d+) skipped", same_outcome(printed))
    assert counts is not None
    assert sum(map(int, counts.groups())) == len(clauses()) + 1
    assert all("the broker lives in this process" in report for report in printed)


def pytest_on(site: Path, folder: Path, suite: str, some: str) -> str:
    """Return how the clauses of that name end where no plugin is loaded."""
    (folder / "test_mine.py").write_text(suite, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-W", "error", "-k", some]
    environment = ALONE | {"PYTHONPATH": str(site)}
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    return outcome(done.stdout)


def test_one_class_with_one_method_is_enough(site: Path, tmp_path: Path) -> None:
    ended = pytest_on(site, tmp_path, BACKEND, "test_every_byte_survives or test_during_an_outage")
    assert ended.startswith("1 passed, ")


def test_the_kit_may_be_imported_before_its_names_are(site: Path, tmp_path: Path) -> None:
    """pytest warns of modules that it is told too late to rewrite."""
    first = "from fast_channels.testing.conformance import BackendTests as First\n"
    ended = pytest_on(site, tmp_path, first + EVERYTHING, "test_every_byte_survives")
    assert ended.startswith("1 passed, ")
