"""The suite under the oldest drivers that the package's metadata allows."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "packages/layer-redis/pyproject.toml").read_text())["project"]
DRIVERS = ("redis", "hiredis")
MODULES = ("groups", "queues", "hosts", "access", "outages", "conformance_single")


def oldest() -> list[str]:
    """Return the drivers, each pinned to its floor."""
    found = [re.fullmatch(r"(\w+)>=([\d.]+)", item) for item in PROJECT["dependencies"]]
    return [f"{each[1]}=={each[2]}" for each in found if each and each[1] in DRIVERS]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_suite_passes_with_the_oldest_drivers(tmp_path: Path) -> None:
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    pins = oldest()
    assert len(pins) == len(DRIVERS)
    install = [uv, "pip", "install", "--no-deps", "--target", str(tmp_path), *pins]
    subprocess.run(install, check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-c", "import redis, hiredis; print(redis.__file__, hiredis.__file__)"],
        env=environment, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert told.count(str(tmp_path)) == 2
    tests = [f"tests/redis/test_{name}.py" for name in MODULES]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not long", *tests]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3_000:]
