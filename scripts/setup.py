"""Install what this checkout needs: ``python3 scripts/setup.py WHAT ...`` (see Makefile).

``demo``: the packages that the demo runs on. ``docs``: what builds the documentation site.
``dev``: everything that tests and checks need, both of these included. ``browser``: Chromium, for
the tests that look at pages. ``brokers``: the servers that tests start. ``fuzz``: the fuzzer.

Python packages go into ``.venv`` and nowhere else, so a system Python that refuses pip installs
(PEP 668) is left alone. What is there already is not installed again, and then no network is
needed.

Standard library only, and no syntax newer than Python 3.7's: this runs before anything is
installed, and on a Python that is too old it must live long enough to say so.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import DEVNULL

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
OLDEST_PYTHON = (3, 11)
OLDEST_UV = (0, 9, 8)  # as required-version of pyproject.toml, which says why
BROKERS = {
    # program: (Debian package, Homebrew formula)
    "mosquitto": ("mosquitto", "mosquitto"),
    "nats-server": ("nats-server", "nats-server"),
    "redis-server": ("redis-server", "redis"),
    "initdb": ("postgresql", "postgresql"),
    "pgbouncer": ("pgbouncer", "pgbouncer"),
    "rabbitmq-server": ("rabbitmq-server", "rabbitmq"),
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class SetupError(Exception):
    """Something that cannot be had; the text says what, and the command that would get it."""


def main() -> int:
    """Do what the command line names, return the exit status; a failure is a line on stderr."""
    parser = argparse.ArgumentParser(description="Install what this checkout needs.")
    parser.add_argument("what", nargs="+", choices=list(INSTALLS))
    wanted = parser.parse_args().what
    try:
        check_python()
        for what, install in INSTALLS.items():
            if what in wanted:
                install()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


def check_python() -> None:
    """Raise ``SetupError`` unless the running Python is new enough."""
    if sys.version_info < OLDEST_PYTHON:
        raise SetupError(
            f"Python {dotted(OLDEST_PYTHON)} or newer is needed, but {sys.executable} is Python "
            f"{sys.version.split()[0]}; run: make ... PYTHON=python3.12 (or where a newer one is)"
        )


def install_demo() -> None:
    """The packages that the demo runs on are in .venv."""
    if is_current("demo") or is_current("dev"):
        return
    make_venv()
    uv = uv_command()
    say(
        "installing the demo into .venv: every package of this folder, so that LAYER may name any",
        "broker, with FastAPI and uvicorn, which serve the page",
    )
    projects = sorted((ROOT / "packages").glob("*/pyproject.toml"))
    packages = [f"--editable={project.parent}" for project in projects]
    run([uv, "pip", "install", "--python", str(VENV_PYTHON), *packages])
    stamp("demo")


def install_docs() -> None:
    """What builds the documentation site is in .venv; it reads the packages' source as text."""
    if is_current("docs") or is_current("dev"):
        return
    make_venv()
    uv = uv_command()
    say("installing what builds the documentation into .venv: MkDocs with Material, mkdocstrings")
    run([uv, "pip", "install", "--python", str(VENV_PYTHON), "--group", "docs"])
    stamp("docs")


def install_dev() -> None:
    """Every package of this repository and its tests' and checks' tools are in .venv."""
    if is_current("dev"):
        return
    make_venv()
    uv = uv_command()
    say(
        "installing into .venv what tests and checks need: every package of this folder, pytest,",
        "web servers and frameworks to test with, Playwright, ruff, mypy, pyright",
    )
    run([uv, "sync", "--python", str(VENV_PYTHON)])
    stamp("dev")


def install_fuzzer() -> None:
    """atheris is in .venv, or it was said that there is none for this machine."""
    probe = "import importlib.util as u; print(u.find_spec('atheris') is not None)"
    if output([str(VENV_PYTHON), "-c", probe]) == "True":
        return
    say("installing atheris into .venv, which fuzzes by what the code does")
    wanted = ["--only-binary", "atheris", "atheris>=3.0"]  # building it takes a Clang
    command = [uv_command(), "pip", "install", "--python", str(VENV_PYTHON), *wanted]
    if subprocess.run(command, cwd=ROOT).returncode:
        say("there is no atheris for this Python and system; the other fuzzing goes on without it")


def make_venv() -> None:
    """.venv is a virtual environment of the running Python's version, ready to install into."""
    version = dotted(sys.version_info[:2])
    has_uv = find_uv() is not None
    if VENV.exists():
        probe = "import sys; print('%d.%d' % sys.version_info[:2])"
        found = output([str(VENV_PYTHON), "-c", probe if has_uv else f"import pip; {probe}"])
        if found == version:
            return
        say(f"making .venv anew: it holds {f'Python {found}' if found else 'no Python with pip'}")
    else:
        say(f"making .venv, a virtual environment of Python {version}; nothing is put elsewhere")
    options = ["--clear"]
    if has_uv:
        options.append("--without-pip")  # which needs no ensurepip, a package of its own on Debian
    elif importlib.util.find_spec("ensurepip") is None:
        apt_install(f"python{version}-venv", "without it this Python cannot make .venv")
    run([sys.executable, "-m", "venv", *options, str(VENV)])


def uv_command() -> str:
    """Return the uv to run, from PATH or from .venv, where pip installs it if there is none."""
    uv = find_uv()
    if uv is None:
        say("installing uv into .venv: it resolves and installs the rest in seconds")
        pip = [str(VENV_PYTHON), "-m", "pip", "--disable-pip-version-check"]
        run([*pip, "install", "--quiet", f"uv>={dotted(OLDEST_UV)}"])
        uv = find_uv()
    if uv is None:
        raise SetupError(f"pip installed uv, but {VENV / 'bin' / 'uv'} does not run")
    return uv


def find_uv() -> str | None:
    """Return a uv that is new enough for this workspace, if there is one."""
    for path in (shutil.which("uv"), str(VENV / "bin" / "uv")):
        match = path and re.match(r"uv (\d+)\.(\d+)\.(\d+)", output([path, "--version"]))
        if match and tuple(map(int, match.groups())) >= OLDEST_UV:
            return path
    return None


def stamp_text() -> str:
    """Return what an installation depends on; it changes when one has to be made again."""
    digest = hashlib.sha256(f"{ROOT} {dotted(sys.version_info[:2])}".encode())
    projects = [ROOT / "pyproject.toml", *sorted((ROOT / "packages").glob("*/pyproject.toml"))]
    for path in projects:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_current(what: str) -> bool:
    """Return whether the last installation was made from these files, by this version of Python."""
    path = VENV / f"installed-{what}"
    return VENV_PYTHON.exists() and path.exists() and path.read_text() == stamp_text()


def stamp(what: str) -> None:
    """Record that an installation is complete."""
    (VENV / f"installed-{what}").write_text(stamp_text())


def install_browser() -> None:
    """A Chromium or Chrome that starts is on PATH, or Playwright has one of its own."""
    if find_browser():
        return
    reason = "the tests that look at pages drive it"
    try:
        if shutil.which("apt-get"):
            apt_install("chromium", reason)
        elif shutil.which("brew"):
            say(f"installing Chromium with Homebrew: {reason}")
            run(["brew", "install", "--cask", "chromium"])
        if not find_browser():
            raise SetupError(f"no browser that starts, and {reason}")
    except SetupError as error:
        raise SetupError(
            f"{error}\n       any Chromium or Chrome will do that is on PATH as one of these: "
            f"{', '.join(BROWSERS)};\n       "
            "or run: .venv/bin/python -m playwright install chromium"
        ) from error


def find_browser() -> str | None:
    """Return a browser that starts, if there is one: on PATH, or Playwright's own."""
    for name in BROWSERS:
        path = shutil.which(name)
        if path and output([path, "--version"]):
            return path
    own = (
        "from playwright.sync_api import sync_playwright\n"
        "with sync_playwright() as playwright: print(playwright.chromium.executable_path)"
    )
    path = output([str(VENV_PYTHON), "-c", own])
    return path if path and output([path, "--version"]) else None


def install_brokers() -> None:
    """Every broker's server is on PATH; the tests start their own, on free ports."""
    for program, (debian, homebrew) in BROKERS.items():
        if find_program(program):
            continue
        reason = f"tests start {program}, on loopback and free ports"
        if shutil.which("apt-get") or not shutil.which("brew"):
            apt_install(debian, reason)
        else:
            say(f"installing {homebrew} with Homebrew: {reason}")
            run(["brew", "install", homebrew])
        if not find_program(program):
            raise SetupError(f"{program} is not on PATH, though its package is installed")


def find_program(program: str) -> str | None:
    """Return the program on PATH, or where Debian has servers that are not on a user's."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    own = Path("/usr/lib/postgresql").glob(f"*/bin/{program}")
    return found or next(map(str, own), None)


def apt_install(package: str, reason: str) -> None:
    """The Debian package is installed, which takes root, or a sudo that asks for no password."""
    command = ["apt-get", "install", "--yes", "--no-install-recommends", package]
    if not shutil.which("apt-get"):
        raise SetupError(f"{package} is missing ({reason}); install it with the system's packages")
    if os.geteuid() == 0:
        prefix = []
    elif succeeds("sudo", "-n", "true"):
        prefix = ["sudo", "-n"]
    else:
        raise SetupError(f"{package} is missing ({reason}); run: sudo {' '.join(command)}")
    say(f"installing the system package {package} with apt-get: {reason}")
    prefix += ["env", "DEBIAN_FRONTEND=noninteractive"]
    # A fresh container has no package lists. Where one source cannot be reached, the rest may do.
    subprocess.run([*prefix, "apt-get", "update", "--quiet=2"], check=False)
    run([*prefix, *command, "--quiet=2"])


def run(command: list[str]) -> None:
    """The command has succeeded; otherwise ``SetupError`` repeats it."""
    # uv and pip take the environment that a shell has activated for a wish; ours is always .venv.
    ours = {"UV_PROJECT_ENVIRONMENT": str(VENV)}
    environment = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    try:
        subprocess.run(command, check=True, cwd=str(ROOT), env={**environment, **ours})
    except subprocess.CalledProcessError as error:
        raise SetupError(
            f"this command failed (its output is above): {' '.join(command)}"
        ) from error


def output(command: list[str]) -> str:
    """Return the first line that the command prints; empty if it fails or does not exist."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=DEVNULL, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    lines = done.stdout.decode().splitlines()
    return lines[0] if done.returncode == 0 and lines else ""


def succeeds(*command: str) -> bool:
    """Return whether the command exists and exits with 0."""
    try:
        return subprocess.run(command, stdout=DEVNULL, stderr=DEVNULL).returncode == 0
    except OSError:
        return False


def say(*lines: str) -> None:
    """Tell the person what happens next and why."""
    print("setup:", "\n       ".join(lines), flush=True)


def dotted(version: tuple[int, ...]) -> str:
    """Return ``(3, 11)`` as ``3.11``."""
    return ".".join(map(str, version))


INSTALLS = {
    "demo": install_demo,
    "docs": install_docs,
    "dev": install_dev,
    "browser": install_browser,
    "brokers": install_brokers,
    "fuzz": install_fuzzer,
}
"""What the command line may name, in the order in which it is installed."""


if __name__ == "__main__":
    sys.exit(main())
