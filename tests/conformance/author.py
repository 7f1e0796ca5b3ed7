"""What an author writes, and the pytest plugins that an author may have."""

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

BACKEND: Final = """\
import pytest

from fast_channels.layers.in_memory import MemoryBackend, MemoryBroker
from fast_channels.testing import BackendTests

BROKER = MemoryBroker()


class TestMine(BackendTests):
    no_outage = "the broker lives in this process"

    def build(self):
        return MemoryBackend(BROKER)
"""
"""One class with one method."""

EVERYTHING: Final = """\
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.testing import BackendTests, HistoryTests, LayerTests, PresenceTests, QueueTests


class TestMine(BackendTests, QueueTests, HistoryTests, LayerTests, PresenceTests):
    capabilities = frozenset({"queues", "history"})
    no_outage = "the broker lives in this process"

    def build(self):
        return self.build_layer().create_backend()

    def build_layer(self, **options):
        return InMemoryChannelLayer(url="memory://mine", **options)
"""
"""All suites in one class."""

ANYIO: Final = ["-p", "anyio.pytest_plugin"]
ASYNCIO: Final = [
    *["-p", "pytest_asyncio.plugin"],
    *["-o", "asyncio_default_fixture_loop_scope=function"],  # otherwise the plugin warns
]
SETTINGS: Final = {
    "anyio": ANYIO,
    "anyio, auto": [*ANYIO, "-o", "anyio_mode=auto"],
    "no plugin": [],
    "pytest-asyncio, strict": [*ASYNCIO, "-o", "asyncio_mode=strict"],
    "pytest-asyncio, auto": [*ASYNCIO, "-o", "asyncio_mode=auto"],
}
"""pytest's options, by what they stand for."""


ALONE: Final = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""The environment in which pytest has the plugins that its options name, and no other."""


ROOT: Final = Path(__file__).parents[2]
UV: Final = next((str(uv) for uv in [ROOT / ".venv/bin/uv"] if uv.exists()), "uv")


def run(*command: str | Path, cwd: Path = ROOT, status: int = 0) -> str:
    """Return what the command prints."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, text=True, capture_output=True, timeout=280
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def built(folder: Path) -> Path:
    """Return the wheel of core, which needs no package index."""
    run(UV, "build", "--quiet", "--offline", "--wheel", "--package", "fast-channels", "-o", folder)
    [wheel] = folder.glob("*.whl")
    return wheel


def reports(python: str | Path, folder: Path, suite: str, site: Path | None) -> dict[str, str]:
    """Return what pytest prints about the suite under each of the settings; all run at once.

    Packages are taken from the folder ``site`` first.
    """
    environment = ALONE | ({"PYTHONPATH": str(site)} if site else {})
    running: dict[str, subprocess.Popen[str]] = {}
    try:
        for number, (name, setting) in enumerate(SETTINGS.items()):
            package = folder / str(number)
            package.mkdir()
            (package / "test_mine.py").write_text(suite, encoding="utf-8")
            command = [str(python), "-m", "pytest", "-rs", "-W", "error", *setting]
            running[name] = subprocess.Popen(
                command, cwd=package, env=environment, stdout=subprocess.PIPE, text=True
            )
        return {name: process.communicate(timeout=280)[0] for name, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
            process.communicate()


def outcome(report: str) -> str:
    """Return how many passed, failed and so on, without the time."""
    found = re.findall(r"=+ (.*) in [\d.:() s]+=+", report)
    assert found, report
    return str(found[-1])


def same_outcome(printed: Iterable[str]) -> str:
    """Return the outcome that all reports have."""
    printed = list(printed)
    outcomes = set(map(outcome, printed))
    assert len(outcomes) == 1, "\n".join(printed)
    return outcomes.pop()
