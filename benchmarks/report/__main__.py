"""Write the figures of ``docs/performance.md`` and draw its plots, by default of the full run."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.launch import ROOT
from benchmarks.launch.environments import plotter
from benchmarks.report.page import refreshed
from benchmarks.results import read

RESULT: Final = ROOT / "benchmarks" / "results" / "full.json"
PAGE: Final = ROOT / "docs" / "performance.md"
IMAGES: Final = ROOT / "docs" / "images" / "performance"


def main() -> int:
    """Refresh the page and its plots."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("result", nargs="?", type=Path, default=RESULT)
    path = parser.parse_args().result
    if not path.exists():
        parser.exit(1, f"there is no {path.name} in {path.parent}; run: make bench-full\n")
    PAGE.write_text(refreshed(PAGE.read_text(), read(path)))
    command = [plotter(), "-m", "benchmarks.report.plots", str(path.resolve()), str(IMAGES)]
    return subprocess.run(command, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
