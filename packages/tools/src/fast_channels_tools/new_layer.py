"""``fast-channels new-layer``: the skeleton of a package with a backend."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

from typer import Argument, Option

from fast_channels import __version__
from fast_channels.layers.discovery import EXTRAS, installed_layers

from .connecting import AsJson
from .loading import CommandError

FILES: Final = {
    "pyproject.toml.in": "pyproject.toml",
    "README.md.in": "README.md",
    "gitignore.in": ".gitignore",
    "ci.yml.in": ".github/workflows/ci.yml",
    "__init__.py.in": "src/{package}/__init__.py",
    "layer.py.in": "src/{package}/layer.py",
    "backend.py.in": "src/{package}/backend.py",
    "test_conformance.py.in": "tests/test_conformance.py",
}
"""Templates, and where each goes."""

NEWER_PIP: Final = "pip install --upgrade 'pip>=25.1'"
"""Before ``--group``: what Python 3.11 and 3.12 put into a new virtual environment is older."""

LONGEST: Final = 16
"""Characters of a name; with more, lines of the skeleton would be too long for its own lint."""


def new_layer(
    name: Annotated[str, Argument(metavar="NAME", help="The scheme of its URLs: acme.")],
    directory: Annotated[
        str, Option(metavar="FOLDER", help="Where the package's folder is made.")
    ] = ".",
    as_json: AsJson = False,
) -> None:
    """Write the skeleton of a package with a backend.

    It passes its own lint and type checks; its tests fail until the five methods are written. Exit
    status: 0 written, 1 the folder cannot be written, 2 the name cannot be used, or is there.
    """
    words = words_for(name)
    folder = Path(directory, f"fast-channels-{name}")
    if folder.exists():
        raise CommandError(f"{folder} exists; nothing was written")
    try:
        for template, place in FILES.items():
            text = files("fast_channels_tools").joinpath("skeleton", template).read_text("utf-8")
            path = folder / filled(place, words)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(filled(text, words), encoding="utf-8")
        (folder / filled("src/{package}/py.typed", words)).touch()
    except OSError as error:
        raise CommandError(f"cannot write {folder}: {error}", status=1) from error
    if as_json:
        written = sorted(str(path) for path in folder.rglob("*") if path.is_file())
        print(json.dumps({"folder": str(folder), "files": written}, indent=2))
        return
    print(
        f"{folder} is there. Write the five methods in {filled('src/{package}/backend.py', words)}"
        f"; in a virtual environment:\n\n  cd {folder}\n  {NEWER_PIP}\n"
        "  pip install --editable . --group dev\n  pytest\n"
    )


def words_for(name: str) -> dict[str, str]:
    """Return what stands for the name in the templates; raise ``CommandError`` for a bad one."""
    if len(name) > LONGEST or not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise CommandError(
            f"{name!r} cannot be the name of a layer; it is the scheme of its URLs: at most "
            f"{LONGEST} lower-case letters and digits, a letter first, single hyphens between"
        )
    if name in EXTRAS or name in installed_layers():
        raise CommandError(f"there is a layer {name!r} already; choose another name")
    snake = name.replace("-", "_")
    return {
        "name": name,
        "package": f"fast_channels_{snake}",
        "Class": "".join(word.capitalize() for word in name.split("-")),
        "Name": " ".join(word.capitalize() for word in name.split("-")),
        "ENVIRON": snake.upper(),
        "version": __version__,
    }


def filled(text: str, words: dict[str, str]) -> str:
    """Return the text with each word in its place; other braces stay."""
    return re.sub(r"(?<![{$])\{(\w+)\}", lambda match: words[match[1]], text)
