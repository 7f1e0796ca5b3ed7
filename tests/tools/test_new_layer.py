"""``fast-channels new-layer``: a package that passes its own checks as it is written."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fast_channels_tools.loading import CommandError
from fast_channels_tools.new_layer import LONGEST, NEWER_PIP, new_layer, words_for

from .commands import run

pytestmark = pytest.mark.timeout(120)

TOOLS = Path(sys.executable).parent
METHODS = {
    "open": "await self._memory.open(inbox)",
    "close": "await self._memory.close()",
    "subscribe": "await self._memory.subscribe(topics)",
    "unsubscribe": "await self._memory.unsubscribe(topics)",
    "publish": "await self._memory.publish(publications)",
}
PYTEST = ["-m", "pytest", "-p", "no:cacheprovider", "--disable-plugin-autoload", "-q"]


def skeleton(name: str, folder: Path) -> Path:
    """Return the folder of a new skeleton."""
    new_layer(name, str(folder))
    return folder / f"fast-channels-{name}"


def inside(folder: Path, *command: str | Path) -> "subprocess.CompletedProcess[str]":
    """Return how the command ended in the skeleton, which is importable."""
    environ = {
        "MYPYPATH": "src",
        "PYTHONPATH": "src",
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "400",
    }
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize("name", ["acme", "a", "my-broker-2", "x" * LONGEST])
def test_a_skeleton_passes_its_own_lint(name: str, tmp_path: Path) -> None:
    folder = skeleton(name, tmp_path)
    for command in (["format", "--check"], ["check"]):
        done = inside(folder, TOOLS / "ruff", *command, "--no-cache", ".")
        assert done.returncode == 0, done.stdout


@pytest.mark.long
def test_a_skeleton_passes_its_own_type_checks(tmp_path: Path) -> None:
    folder = skeleton("acme", tmp_path)
    done = inside(folder, TOOLS / "mypy", "--cache-dir", str(tmp_path / "cache"))
    assert done.returncode == 0, done.stdout


def test_the_tests_of_a_skeleton_fail_only_where_a_method_is_not_written(tmp_path: Path) -> None:
    folder = skeleton("acme", tmp_path)
    done = inside(folder, sys.executable, *PYTEST, "--tb=line", "-rf")
    failed = re.findall(r"^FAILED .*? - (.*)", done.stdout, re.MULTILINE)
    assert len(failed) > 100
    assert {text.split(":")[0] for text in failed} == {"NotImplementedError"}, done.stdout
    assert "error" not in done.stdout.splitlines()[-1]


def test_the_tests_of_a_skeleton_pass_when_the_methods_are_written(tmp_path: Path) -> None:
    folder = skeleton("acme", tmp_path)
    path = folder / "src" / "fast_channels_acme" / "backend.py"
    source = path.read_text()
    for method, line in METHODS.items():
        written = rf'(async def {method}\(.*?\n        """.*?"""\n        )raise Not[^\n]*'
        source, count = re.subn(written, rf"\g<1>{line}", source, flags=re.DOTALL)
        assert count == 1
    source = source.replace(
        "        self._url = url", "        self._memory = MemoryBackend(BROKER)"
    )
    imports = "from fast_channels.layers.in_memory import MemoryBackend, MemoryBroker\n"
    source = source.replace("\n\n\nclass", f"\n{imports}\nBROKER = MemoryBroker()\n\n\nclass", 1)
    path.write_text(source)
    done = inside(folder, sys.executable, *PYTEST, "-k", "order or subscri or declared")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout.splitlines()[-1]


def test_what_a_skeleton_declares_is_installable(tmp_path: Path) -> None:
    pyproject = (skeleton("my-broker", tmp_path) / "pyproject.toml").read_text()
    assert 'name = "fast-channels-my-broker"' in pyproject
    assert 'my-broker = "fast_channels_my_broker:MyBrokerChannelLayer"' in pyproject
    assert (tmp_path / "fast-channels-my-broker/src/fast_channels_my_broker/py.typed").exists()


@pytest.mark.parametrize("name", ["Acme", "1st", "a_b", "a--b", "-a", "a b", "é", "x" * 17, ""])
def test_a_name_that_no_url_can_begin_with_is_refused(name: str) -> None:
    with pytest.raises(CommandError) as caught:
        words_for(name)
    assert str(caught.value).startswith(f"{name!r} cannot be the name of a layer; ")


@pytest.mark.parametrize("name", ["memory", "redis", "amqps"])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    with pytest.raises(CommandError, match=f"there is a layer '{name}' already"):
        words_for(name)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = skeleton("acme", tmp_path)
    (folder / "README.md").write_text("mine")
    with pytest.raises(CommandError, match="exists; nothing was written"):
        new_layer("acme", str(tmp_path))
    assert (folder / "README.md").read_text() == "mine"


def test_the_command_tells_what_to_do_next_and_what_is_wrong(tmp_path: Path) -> None:
    done = run("new-layer", "acme", "--directory", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Write the five methods in src/fast_channels_acme/backend.py" in done.stdout
    steps = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    assert steps[1:] == [NEWER_PIP, "pip install --editable . --group dev", "pytest"]
    folder = tmp_path / "fast-channels-acme"
    for name in ("README.md", ".github/workflows/ci.yml"):
        text = (folder / name).read_text()
        assert text.index(NEWER_PIP) < text.index("--group dev\n") < text.index("pytest\n")
    done = run("new-layer", "Acme")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_programs_get_the_files_as_json(tmp_path: Path) -> None:
    done = run("new-layer", "acme", "--directory", str(tmp_path), "--json")
    written = json.loads(done.stdout)
    assert written["folder"] == str(tmp_path / "fast-channels-acme")
    assert f"{written['folder']}/pyproject.toml" in written["files"]
    assert all(Path(name).is_file() for name in written["files"])
