"""Each example's own tests, format, lint and types, where it is installed from its wheel."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.workspace.pages import blocks_of

from .machines import EXAMPLES, Machine, Wheels

NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/pyproject.toml"))
RUNS = [
    ("fast-channels-mqtt", "TestBackend"),
    ("fast-channels-mqtt", "TestLayer"),
    pytest.param("fast-channels-mqtt", "not TestBackend and not TestLayer", marks=pytest.mark.long),
    *((name, "") for name in NAMES if name != "fast-channels-mqtt"),
]
"""Examples, and which of their tests run together where all would take too long."""

TOOLS = Path(sys.executable).parent

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="session")
def author(wheels: Wheels, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The machine of who wrote the examples."""
    machine = Machine(tmp_path_factory.mktemp("author"))
    core = f"fast-channels[testing] @ {wheels['fast-channels'].as_uri()}"
    machine.install(core, *(wheels[name] for name in NAMES))
    return machine


@pytest.mark.parametrize(("name", "only"), RUNS)
def test_an_example_passes_its_own_tests(name: str, only: str, author: Machine) -> None:
    done = subprocess.run(
        [author.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", only],
        # The broker comes from this machine's PATH.
        env={**author.environ, "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=EXAMPLES / name,
        capture_output=True,
        text=True,
        timeout=290,
    )
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_passes_its_own_checks(name: str, author: Machine, tmp_path: Path) -> None:
    checks = [
        [TOOLS / "ruff", "format", "--check", "--no-cache", "."],
        [TOOLS / "ruff", "check", "--no-cache", "."],
        [TOOLS / "mypy", "--python-executable", author.python, "--cache-dir", tmp_path],
    ]
    for check in checks:
        done = subprocess.run(check, cwd=EXAMPLES / name, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_blocks_of_the_readmes_run_where_the_examples_are_installed(author: Machine) -> None:
    readmes = [(EXAMPLES / name / "README.md").read_text(encoding="utf-8") for name in NAMES]
    blocks = [b for readme in readmes for b in blocks_of(readme) if b.language == "python"]
    assert blocks
    for block in blocks:
        done = author.call("python", "-W", "error", "-c", block.code)
        assert (done.returncode, done.stderr) == (0, ""), block


@pytest.mark.parametrize("name", NAMES)
def test_an_example_uses_public_names_only(name: str) -> None:
    used: set[str] = set()
    for path in (EXAMPLES / name / "src").rglob("*.py"):
        source = path.read_text()
        used |= set(re.findall(r"^\s*(?:from|import) (fast_channels(?:\.[\w.]+)?)\b", source, re.M))
        assert not re.search(r"import .*\b_\w", source)
    assert used <= {"fast_channels", "fast_channels.layers", "fast_channels.exceptions"}


def test_the_mqtt_package_is_under_250_lines() -> None:
    sources = (EXAMPLES / "fast-channels-mqtt" / "src").rglob("*.py")
    assert sum(len(path.read_text().splitlines()) for path in sources) < 250
