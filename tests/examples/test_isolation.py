"""Each backend of this repository alone: its wheel and core's in an empty environment."""

import subprocess
import tomllib
from pathlib import Path

import pytest

from .machines import ROOT, Machine, Wheels

# `make isolate` runs them, and so does `make test-all`.
pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]

PROJECTS = {
    path.parent.name: tomllib.loads(path.read_text())["project"]
    for path in sorted((ROOT / "packages").glob("layer-*/pyproject.toml"))
}
SHOW = """
import sys
from fast_channels.layers.discovery import installed_layers, load_layer
import MODULE
names = [name for name in installed_layers() if name != "memory"]
factories = {name: load_layer(name) for name in names}
print(*names)
print(*sorted(m for m in sys.modules if m.startswith("fast_channels_") and "." not in m))
"""


@pytest.mark.parametrize("folder", PROJECTS)
def test_a_package_installs_and_imports_alone(folder: str, wheels: Wheels, tmp_path: Path) -> None:
    project = PROJECTS[folder]
    module = project["name"].replace("-", "_")
    machine = Machine(tmp_path)
    # What it needs may be built: not every driver comes as a wheel.
    machine.pip("install", wheels["fast-channels"], wheels[project["name"]])
    done: subprocess.CompletedProcess[str] = machine.call(
        "python", "-W", "error", "-c", SHOW.replace("MODULE", module)
    )
    assert (done.returncode, done.stderr) == (0, "")
    names, modules = done.stdout.splitlines()
    assert set(names.split()) == set(project["entry-points"]["fast_channels.layers"])
    assert modules.split() == [module]
