"""The packages are released together: one version, pins that agree, the same metadata.

uv takes every package from this repository whatever version a requirement names, so a wrong pin
installs here without a word. These comparisons are what finds it.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WORKSPACE: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = sorted(path.parent for path in (ROOT / "packages").glob("*/pyproject.toml"))
PROJECTS: dict[Path, dict[str, Any]] = {
    folder: tomllib.loads((folder / "pyproject.toml").read_text())["project"] for folder in FOLDERS
}
CORE = PROJECTS[ROOT / "packages/core"]
PYTHONS = {"3.11", "3.12", "3.13"}

each_package = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def name_of(requirement: str) -> str:
    """Return the distribution that a requirement names."""
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]


def own_requirements(project: dict[str, Any]) -> list[str]:
    """Return the requirements, extras included, that name a package of this repository."""
    extras: dict[str, list[str]] = project.get("optional-dependencies", {})
    every = [*project["dependencies"], *(item for extra in extras.values() for item in extra)]
    return [item for item in every if name_of(item).startswith("fast-channels")]


@each_package
def test_every_package_has_the_one_version(folder: Path) -> None:
    assert PROJECTS[folder]["version"] == WORKSPACE["project"]["version"]


@each_package
def test_packages_pin_each_other_to_that_version(folder: Path) -> None:
    project = PROJECTS[folder]
    others = [item for item in own_requirements(project) if name_of(item) != project["name"]]
    expected = [f"{name_of(item)}=={WORKSPACE['project']['version']}" for item in others]
    assert others == expected


@each_package
def test_the_version_that_a_package_tells_is_its_own(folder: Path) -> None:
    source = next(folder.glob("src/*/__init__.py")).read_text()
    told = re.findall(r'^__version__ = "(.*)"$', source, re.MULTILINE)
    assert told in ([], [PROJECTS[folder]["version"]])


@each_package
def test_every_package_declares_the_tested_pythons_and_no_others(folder: Path) -> None:
    project = PROJECTS[folder]
    prefix = "Programming Language :: Python :: 3."
    declared = {c.rpartition(" ")[2] for c in project["classifiers"] if c.startswith(prefix)}
    assert declared == PYTHONS
    assert project["requires-python"] == ">=3.11"


@each_package
def test_every_package_carries_its_types_its_readme_and_the_licence(folder: Path) -> None:
    [source] = [path for path in (folder / "src").iterdir() if path.name.startswith("fast_")]
    assert source.name == PROJECTS[folder]["name"].replace("-", "_")
    assert (source / "py.typed").read_bytes() == b""
    assert (folder / PROJECTS[folder]["readme"]).read_text().startswith("# fast-channels")
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_workspace_builds_every_package_and_looks_for_none_of_them_elsewhere() -> None:
    assert set(WORKSPACE["tool"]["uv"]["sources"]) == {p["name"] for p in PROJECTS.values()}


def test_what_uv_leaves_out_are_the_packages_that_do_not_exist_yet() -> None:
    named = {name_of(item) for item in own_requirements(CORE)}
    missing = named - {project["name"] for project in PROJECTS.values()}
    assert set(WORKSPACE["tool"]["uv"].get("exclude-dependencies", [])) == missing


def test_core_has_the_promised_extras() -> None:
    extras = set(CORE["optional-dependencies"])
    brokers = {"redis", "postgres", "rabbitmq", "nats"}
    assert extras == brokers | {"all", "crypto", "otel", "prometheus", "tools", "testing"}


def test_core_itself_needs_three_distributions() -> None:
    assert {name_of(item) for item in CORE["dependencies"]} == {"asgiref", "msgspec", "pluggy"}
