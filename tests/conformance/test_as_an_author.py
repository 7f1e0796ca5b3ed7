"""The kit as an author has it: the wheel in an empty environment, with its extra ``testing``."""

import re
import sys
from pathlib import Path

import pytest

from .author import BACKEND, EVERYTHING, UV, built, outcome, reports, run, same_outcome
from .subject import clauses

XFAIL = """
    @pytest.mark.xfail(reason="this broker carries text only", strict=True)
    def test_every_byte_survives(self):
        super().test_every_byte_survives()
"""
TEXT_ONLY = """

class TextBackend(MemoryBackend):
    async def publish(self, publications):
        texts = [each.payload.decode("utf-8", "replace").encode() for each in publications]
        pairs = zip(publications, texts)
        await super().publish([each._replace(payload=text) for each, text in pairs])
"""
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]  # builds, installs from an index


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of core."""
    return built(tmp_path_factory.mktemp("dist"))


def environment(folder: Path, *packages: str) -> Path:
    """Return the Python of a new environment that has these packages alone."""
    run(UV, "venv", "--quiet", "--python", sys.executable, folder)
    python = folder / "bin" / "python"
    run(UV, "pip", "install", "--quiet", "--python", python, *packages, cwd=folder)
    return python


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the wheel, its extra ``testing``, and pytest-asyncio."""
    return environment(tmp_path_factory.mktemp("author"), f"{wheel}[testing]", "pytest-asyncio")


@pytest.fixture(scope="module")
def printed(python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What pytest prints about all suites, under every setting."""
    return reports(python, tmp_path_factory.mktemp("packages"), EVERYTHING, None)


def test_every_clause_runs_alike_under_every_plugin(printed: dict[str, str]) -> None:
    counts = [int(count) for count in re.findall(r"\d+", same_outcome(printed.values()))]
    assert sum(counts) == len(clauses())


def test_a_skipped_clause_prints_its_reason(printed: dict[str, str]) -> None:
    for report in printed.values():
        assert "the broker lives in this process" in report
        assert "TestMine.secret is None: build() uses no password" in report


def pytest_on(python: Path, folder: Path, suite: str, status: int) -> str:
    (folder / "test_mine.py").write_text(suite)
    options = ["-rsx", "-p", "no:asyncio", "-k", "every_byte or replaced"]
    return run(python, "-m", "pytest", *options, cwd=folder, status=status)


def test_a_broken_clause_shows_both_sides_and_its_usual_cause(python: Path, tmp_path: Path) -> None:
    suite = BACKEND.replace("return MemoryBackend", "return TextBackend") + TEXT_ONLY
    report = pytest_on(python, tmp_path, suite, 1)
    assert outcome(report).startswith("1 failed, 1 passed")
    assert r"b'\xef\xbf\xbd" in report, "what came"
    assert r"b'\x80" in report, "what was published"
    assert "Usual cause: they travel as text" in report


def test_a_clause_that_is_expected_to_fail_is_reported_with_its_reason(
    python: Path, tmp_path: Path
) -> None:
    suite = BACKEND.replace("return MemoryBackend", "return TextBackend") + XFAIL + TEXT_ONLY
    report = pytest_on(python, tmp_path, suite, 0)
    assert outcome(report).startswith("1 passed, ")
    assert "1 xfailed" in report
    assert "this broker carries text only" in report


def test_a_clause_that_passes_though_it_is_expected_to_fail_fails(
    python: Path, tmp_path: Path
) -> None:
    assert "XPASS(strict)" in pytest_on(python, tmp_path, BACKEND + XFAIL, 1)


def test_without_pytest_the_kit_says_what_to_install(wheel: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "core", str(wheel))
    error = run(python, "-c", "from fast_channels.testing import BackendTests", status=1)
    assert "BackendTests needs pytest; run: pip install 'fast-channels[testing]'" in error
    run(python, "-c", "from fast_channels.testing import WebsocketCommunicator")
