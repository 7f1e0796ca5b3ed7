"""Plots are drawn from a result alone, by matplotlib in an environment of its own."""

import subprocess
from pathlib import Path

import pytest
from benchmarks.launch.environments import plotter
from tests.benchmarks.sample import sample

ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG\r\n"


@pytest.mark.timeout(240)  # the first time, matplotlib is installed
def test_a_result_is_drawn_and_the_same_one_gives_the_same_pictures(tmp_path: Path) -> None:
    sample().write(tmp_path / "result.json")

    def drawn(folder: str, *names: str) -> dict[str, bytes]:
        command = [
            plotter(),
            "-m",
            "benchmarks.report.plots",
            tmp_path / "result.json",
            tmp_path / folder,
        ]
        subprocess.run([*command, *names], cwd=ROOT, check=True)
        return {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}

    once = drawn("once")
    assert set(once) == {
        *("group-size.png", "group-size-cpu.png", "senders.png"),
        *("lone.png", "burst.png", "idle.png", "websockets.png", "growth.png"),
    }
    assert all(picture.startswith(PNG) for picture in once.values())
    again = drawn("again", "senders", "growth")
    assert len(again) == 2
    assert again.items() <= once.items()
