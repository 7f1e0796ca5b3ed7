"""Run every test on each declared Python that this machine has, then chaos (``make test-all``).

The declared versions are the classifiers of the core package. No Python is downloaded: one that is
not found is named at the end, so that nobody takes the run for more than it was.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTEST = ["-m", "pytest", "-n", "2", "--dist", "loadfile", "--hypothesis-profile=thorough", "tests"]


def main() -> int:
    """Run the tests version by version, then chaos; return 0 if all that was found passed."""
    results: dict[str, str] = {}
    for version in declared_versions():
        interpreter = find_python(version)
        if interpreter is None:
            results[version] = "not run: no such Python found"
            continue
        python = install(version, interpreter)
        print(f"test-all: Python {version} ({interpreter})", flush=True)
        failed = subprocess.run([python, *PYTEST], cwd=ROOT).returncode
        results[version] = "FAILED" if failed else "passed"
    print("test-all: chaos", flush=True)
    failed = subprocess.run([sys.executable, "-m", "tests.chaos.run"], cwd=ROOT).returncode
    chaos = "FAILED" if failed else "passed"
    print("\ntest-all:")
    for version, result in results.items():
        print(f"  Python {version}: {result}")
    print(f"  chaos: {chaos}")
    ran = [result for result in results.values() if result in ("passed", "FAILED")]
    return 0 if ran and "FAILED" not in [*ran, chaos] else 1


def declared_versions() -> list[str]:
    """Return ``["3.11", ...]`` as the core package declares them."""
    project = tomllib.loads((ROOT / "packages/core/pyproject.toml").read_text())["project"]
    found = (re.fullmatch(r".* :: Python :: (3\.\d+)", text) for text in project["classifiers"])
    return [match[1] for match in found if match]


def find_python(version: str) -> str | None:
    """Return an interpreter of that version that starts: one that uv knows of, or one of pyenv's.

    uv looks on PATH and among those that it installed; pyenv's are often neither.
    """
    search = ("python", "find", "--system", "--no-project", "--no-python-downloads")
    found = output(uv(), *search, version)
    if found:
        return found
    for name in output("pyenv", "versions", "--bare").split():
        if name == version or name.startswith(f"{version}."):
            path = Path(output("pyenv", "prefix", name), "bin", "python")
            if output(str(path), "--version").startswith(f"Python {version}."):
                return str(path)
    return None


def install(version: str, interpreter: str) -> str:
    """Return the Python of an environment of that version that has everything installed."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable  # .venv, which make has just set up
    environment = ROOT / ".venvs" / version
    print(f"test-all: installing into {environment.relative_to(ROOT)}", flush=True)
    variables = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    subprocess.run(
        [uv(), "sync", "--quiet", "--python", interpreter],
        cwd=ROOT,
        env={**variables, "UV_PROJECT_ENVIRONMENT": str(environment)},
        check=True,
    )
    return str(environment / "bin" / "python")


def uv() -> str:
    """Return the uv that scripts/setup.py put into .venv, or else the one on PATH."""
    ours = Path(sys.executable).with_name("uv")
    return str(ours) if ours.exists() else shutil.which("uv") or "uv"


def output(*command: str) -> str:
    """Return what the command prints; empty if it fails or does not exist."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
