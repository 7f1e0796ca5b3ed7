"""Importing Fast Channels is cheap and silent: no driver, no plugin machinery, no test tool."""

import subprocess
import sys

import pytest

# What core depends on, less pluggy: that is loaded when the first plugin is. typing_extensions is
# what asgiref and msgspec take newer typing from.
ALLOWED = {"asgiref", "fast_channels", "msgspec", "typing_extensions"}
REPORT = "import sys; sys.stdout.write('\\n'.join(sys.modules))"


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules, other than Python's own, that a fresh process loads for it."""
    program = f"{statement}\n{REPORT}"
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    top_level = {line.split(".")[0] for line in done.stdout.splitlines()}
    return top_level - sys.stdlib_module_names


@pytest.mark.parametrize(
    "statement",
    [
        "import fast_channels",
        "import fast_channels.layers, fast_channels.consumer",
        "import fast_channels.middleware, fast_channels.plugins, fast_channels.lifespan",
        "import fast_channels.routing, fast_channels.worker",
    ],
)
def test_an_import_loads_nothing_but_what_core_is_made_of(statement: str) -> None:
    # What the environment itself loads at start (an editable install may) is no doing of ours.
    assert loaded_by(statement) - loaded_by("") <= ALLOWED


@pytest.mark.parametrize("module", ["pluggy", "pytest", "anyio"])
def test_a_module_too_many_is_seen(module: str) -> None:
    assert not loaded_by(f"import fast_channels.exceptions, {module}") <= ALLOWED


def test_an_import_that_warns_or_prints_is_seen() -> None:
    with pytest.raises(AssertionError):
        loaded_by("import sys; print('hello', file=sys.stderr)")
    with pytest.raises(AssertionError):
        loaded_by("import warnings; warnings.warn('old')")
    assert "hello" in loaded_by("print('hello')")
