"""The kit as an author has it: the wheel in an empty environment, and one class with one method."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = next((str(uv) for uv in [ROOT / ".venv/bin/uv"] if uv.exists()), "uv")

SUITE = """\
import pytest

from fast_channels.layers.in_memory import MemoryBackend, MemoryBroker
from fast_channels.testing import BackendTests

BROKER = MemoryBroker()


class TestMine(BackendTests):
    no_outage = "the broker lives in this process"

    def build(self):
        return MemoryBackend(BROKER)
"""
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
SETTINGS = {
    "anyio alone": ["-p", "no:asyncio"],
    "no plugin at all": ["-p", "no:asyncio", "-p", "no:anyio"],
    "pytest-asyncio, strict": ["-p", "no:anyio", "-o", "asyncio_mode=strict"],
    "pytest-asyncio, auto": ["-p", "no:anyio", "-o", "asyncio_mode=auto"],
    "anyio, auto": ["-p", "no:asyncio", "-o", "anyio_mode=auto"],
}

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]  # builds, installs from an index


def run(*command: str | Path, cwd: Path = ROOT, status: int = 0) -> str:
    """Return what the command prints."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, text=True, capture_output=True, timeout=280
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of core."""
    folder = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--quiet", "--wheel", "--package", "fast-channels", "--out-dir", folder)
    [built] = folder.glob("*.whl")
    return built


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
def reports(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What pytest says about the suite, under every setting."""
    running: dict[str, subprocess.Popen[str]] = {}
    for name, options in SETTINGS.items():
        folder = tmp_path_factory.mktemp("package")
        (folder / "test_mine.py").write_text(SUITE)
        command = [str(python), "-m", "pytest", "-rs", *options]
        pipe = subprocess.PIPE
        running[name] = subprocess.Popen(command, cwd=folder, stdout=pipe, text=True)
    try:
        yield {name: process.communicate(timeout=280)[0] for name, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
            process.communicate()


def outcome(report: str) -> str:
    """Return how many passed, failed and so on, without the time."""
    return re.findall(r"=+ (.*) in [\d.:() s]+=+", report)[-1]


def test_the_suite_runs_alike_under_every_plugin(reports: dict[str, str]) -> None:
    outcomes = {name: outcome(report) for name, report in reports.items()}
    assert len(set(outcomes.values())) == 1, outcomes
    [same] = set(outcomes.values())
    assert re.match(r"\d\d passed, \d+ skipped", same), same


def test_a_skipped_clause_prints_its_reason(reports: dict[str, str]) -> None:
    for report in reports.values():
        assert "the broker lives in this process" in report
        assert "TestMine.secret is None: build() uses no password" in report


def pytest_on(python: Path, folder: Path, suite: str, status: int) -> str:
    (folder / "test_mine.py").write_text(suite)
    options = ["-rsx", "-p", "no:asyncio", "-k", "every_byte or replaced"]
    return run(python, "-m", "pytest", *options, cwd=folder, status=status)


def test_a_broken_clause_shows_both_sides_and_its_usual_cause(python: Path, tmp_path: Path) -> None:
    suite = SUITE.replace("return MemoryBackend", "return TextBackend") + TEXT_ONLY
    report = pytest_on(python, tmp_path, suite, 1)
    assert outcome(report).startswith("1 failed, 1 passed")
    assert r"b'\xef\xbf\xbd" in report, "what came"
    assert r"b'\x80" in report, "what was published"
    assert "Usual cause: they travel as text" in report


def test_a_clause_that_is_expected_to_fail_is_reported_with_its_reason(
    python: Path, tmp_path: Path
) -> None:
    suite = SUITE.replace("return MemoryBackend", "return TextBackend") + XFAIL + TEXT_ONLY
    report = pytest_on(python, tmp_path, suite, 0)
    assert outcome(report).startswith("1 passed, ")
    assert "1 xfailed" in report
    assert "this broker carries text only" in report


def test_a_clause_that_passes_though_it_is_expected_to_fail_fails(
    python: Path, tmp_path: Path
) -> None:
    assert "XPASS(strict)" in pytest_on(python, tmp_path, SUITE + XFAIL, 1)


def test_without_pytest_the_kit_says_what_to_install(wheel: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "core", str(wheel))
    error = run(python, "-c", "from fast_channels.testing import BackendTests", status=1)
    assert "BackendTests needs pytest; run: pip install 'fast-channels[testing]'" in error
    run(python, "-c", "from fast_channels.testing import WebsocketCommunicator")
