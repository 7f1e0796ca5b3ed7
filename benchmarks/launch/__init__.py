"""What a run starts: environments of libraries, brokers, web servers, and workers."""

import os
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
BENCH: Final = ROOT / ".bench"
"""What is installed, and the lock: one run at a time."""

OURS: Final = sys.executable


def environment(**more: str) -> dict[str, str]:
    """Return the process environment without what would mix two Python environments, and more."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | more
