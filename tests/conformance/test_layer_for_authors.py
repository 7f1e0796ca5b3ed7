"""An author needs one class and one method, whatever pytest plugins there are."""

import subprocess
import sys
from pathlib import Path

import pytest

from fast_channels.testing import LayerTests

from .layer_subject import CLAUSES

TESTS = """
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.testing import LayerTests


class TestMine(LayerTests):
    capabilities = frozenset({"queues"})
    no_outage = "the broker is this process"

    def build_layer(self, **options):
        return InMemoryChannelLayer(url="memory://mine", **options)
"""
FEW = "reaches or legal or threads"
LOOP = "asyncio_default_fixture_loop_scope=function"


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in the folder of an author."""
    (folder / "test_mine.py").write_text(TESTS, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "options",
    [
        ["-o", LOOP, "-o", "asyncio_mode=strict"],
        ["-o", LOOP, "-o", "asyncio_mode=auto"],
        ["-p", "no:asyncio", "-p", "anyio"],
        ["-p", "no:asyncio", "-p", "no:anyio"],
    ],
    ids=["asyncio strict", "asyncio auto", "anyio", "no plugin"],
)
def test_the_clauses_run_under_every_plugin(tmp_path: Path, options: list[str]) -> None:
    done = run(tmp_path, "-k", FEW, *options)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


def test_every_clause_is_collected_once(tmp_path: Path) -> None:
    done = run(tmp_path, "-p", "no:asyncio", "--collect-only")
    assert sorted(
        line.rpartition("::")[2] for line in done.stdout.splitlines() if "::" in line
    ) == (CLAUSES)


def test_every_clause_says_what_usually_breaks_it() -> None:
    texts = {
        clause: " ".join((getattr(LayerTests, clause).__doc__ or "").split()) for clause in CLAUSES
    }
    assert not {clause: text for clause, text in texts.items() if "Usual cause: " not in text}
