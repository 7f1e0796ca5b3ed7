"""Machines of strangers: virtual environments that know this repository by its wheels only."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def uv() -> str:
    """Return the uv that the workspace uses."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    assert found, "uv is neither on PATH nor in .venv; run: make setup"
    return found


def run(command: list[str | Path], **options: object) -> str:
    """Return what the command prints; fail with all that it said if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Wheels:
    """A folder with the wheels of this repository's packages and examples."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        build = [uv(), "build", "--quiet", "--wheel", "--out-dir", folder]
        run([*build, "--all-packages", ROOT])
        for project in sorted(EXAMPLES.glob("*/pyproject.toml")):
            run([*build, project.parent])

    def __getitem__(self, name: str) -> Path:
        """Return the wheel of the distribution."""
        [wheel] = self.folder.glob(f"{name.replace('-', '_')}-*.whl")
        return wheel


class Machine:
    """An empty virtual environment, and a user whose PATH is that and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        run([uv(), "venv", "--quiet", "--python", sys.executable, folder / "venv"])
        self.home.mkdir()
        self.bin = folder / "venv" / "bin"
        self.python = self.bin / "python"

    @property
    def environ(self) -> dict[str, str]:
        """What the user's processes know of the world."""
        return {"PATH": str(self.bin), "HOME": str(self.home), "LANG": "C.UTF-8", "COLUMNS": "120"}

    def pip(self, *arguments: str | Path) -> None:
        """Do what pip would do with these arguments."""
        environ = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
        command, *rest = arguments
        run([uv(), "pip", command, "--quiet", "--python", self.python, *rest], env=environ)

    def install(self, *wheels: str | Path) -> None:
        """The wheels are installed, and what they need: wheels, too, for nothing is built."""
        self.pip("install", "--only-binary", ":all:", *wheels)

    def call(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Return how a program of the environment ended."""
        program, *rest = command
        return subprocess.run(
            [self.bin / program, *rest],
            env=self.environ,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
        )
