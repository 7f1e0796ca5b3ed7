"""Imports point one way: the table of core, and the borders between packages.

Read from the source, so that a rule holds for an import inside a function, too. What stands under
``if TYPE_CHECKING:`` never runs and is free.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2] / "packages"
CORE = "fast_channels"

# A module of core may import from its own row and from the rows above. "x.*" is every module in the
# package x, "x" alone is x or its __init__, and "" is the __init__ of core itself.
ROWS: tuple[tuple[str, ...], ...] = (
    (
        "exceptions",
        "namesakes",
        "type_defs",
        "utils",
        "layers.names",
        "layers.events",
        "layers.backoff",
    ),
    ("layers.forks", "layers.loops", "layers.link"),
    ("layers.backend",),
    ("layers.history",),
    ("layers.protocol",),
    (
        "layers.options",
        "layers.messages",
        "layers.codec",
        "layers.sealing",
        "layers.fragments",
        "layers.sequence",
        "layers.tails",
        "layers.time_limit",
        "layers.counters",
        "layers.mailbox",
        "layers.outbox",
        "layers.history.appends",
        "layers.relay",
        "layers.subscriptions",
        "layers.sweeper",
        "layers.compat",
        "layers.sync",
        "layers.presence",
        "layers.presence.wire",
        "layers.presence.peers",
        "layers.presence.questions",
        "layers.presence.roster",
        "layers.presence.announcer",
    ),
    ("layers.topics",),
    ("layers.hub",),
    (
        "layers.history.cursor",
        "layers.history.node_inbox",
        "layers.history.replay",
        "layers.history.durable",
        "layers.history.kept",
    ),
    ("layers.membership", "layers.presence.tracker", "layers.control", "layers.sending"),
    ("layers.tracing",),
    (
        "layers.framing",
        "layers.session",
        "layers.sessions",
        "layers.health",
        "layers.channel",
        "layers.presence.views",
        "layers.jobs",
        "layers.base",
    ),
    ("layers.in_memory", "layers.in_memory.*"),
    ("plugins", "layers.discovery", "layers.registry", "layers", "layers.redis", "layers.redis.*"),
    ("consumer", "consumer.*", "lifespan"),
    ("middleware", "middleware.*", "routing", "routing.*", "worker", "testing", "testing.*", ""),
)
# Old import paths that hand on a backend package's names; they import it when first asked for one.
HANDS_ON = {"fast_channels.layers.redis": "fast_channels_redis"}


@dataclass(frozen=True)
class Module:
    """One module: its dotted name, its source, and whether it is a package's ``__init__``."""

    name: str
    source: str
    is_package: bool = False

    @property
    def package(self) -> str:
        """The name that one leading dot stands for."""
        return self.name if self.is_package else self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Import:
    """One imported thing: the module that it comes from, and its name there (None: the module)."""

    line: int
    module: str
    name: str | None = None

    def target(self, known: set[str]) -> str:
        """Return the module that is imported, when ``known`` are those of this repository."""
        whole = f"{self.module}.{self.name}"
        return whole if whole in known else self.module

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module


def read_modules(sources: Path) -> list[Module]:
    """Return every module below a ``src`` folder."""
    found = []
    for path in sorted(sources.rglob("*.py")):
        parts = path.relative_to(sources).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found.append(Module(name, path.read_text(encoding="utf-8"), is_package))
    return found


def imports_of(module: Module) -> Iterator[Import]:
    """Yield what the module imports when it, or any function in it, runs."""
    pending: list[ast.AST] = [ast.parse(module.source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            pending += node.orelse
            continue
        match node:
            case ast.Import(names=names):
                yield from (Import(node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=source, names=names, level=level):
                base = source or ""
                if level:
                    above = module.package.split(".")
                    above = above[: len(above) - level + 1]
                    base = ".".join([*above, source] if source else above)
                yield from (Import(node.lineno, base, alias.name) for alias in names)
            case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]) if ast.unparse(
                func
            ).rpartition(".")[2] in ("import_module", "__import__"):
                yield Import(node.lineno, name)
        pending += ast.iter_child_nodes(node)


def row_of(name: str) -> int | None:
    """Return the row of a module of core, None if the table does not have it."""
    short = name.removeprefix(CORE).removeprefix(".")
    for row, entries in enumerate(ROWS):
        for entry in entries:
            if short == entry or (entry.endswith(".*") and short.startswith(entry[:-1])):
                return row
    return None


def is_private(name: str) -> bool:
    """Return whether any part of a dotted name is private (``_x``, but not ``__version__``)."""
    return any(part.startswith("_") and not part.endswith("__") for part in name.split("."))


def core_faults(modules: list[Module]) -> list[str]:
    """Return what breaks the table of core, a sentence each."""
    known = {module.name for module in modules}
    faults = []
    for module in modules:
        row = row_of(module.name)
        if row is None:
            if module.name not in HANDS_ON:
                faults.append(
                    f"{module.name} is in no row of ROWS in {Path(__file__).name}; place it"
                )
            continue
        for item in imports_of(module):
            target = item.target(known)
            if target.split(".")[0] != CORE:
                continue
            target_row = row_of(target)
            if target_row is None or target_row > row:
                faults.append(
                    f"{module.name}:{item.line} (row {row}) imports {item} (row {target_row})"
                )
    return faults


def cycles(modules: list[Module]) -> list[str]:
    """Return a circle of imports, if there is one, as one sentence."""
    known = {module.name for module in modules}
    graph = {
        module.name: {item.target(known) for item in imports_of(module)} & known - {module.name}
        for module in modules
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"a circle of imports: {' <- '.join(error.args[1])}"]
    return []


def border_faults(modules: list[Module], packages: set[str]) -> list[str]:
    """Return what one package takes from another and may not, a sentence each."""
    faults = []
    for module in modules:
        own = module.name.split(".")[0]
        for item in imports_of(module):
            other = item.module.split(".")[0]
            if other == own or other not in packages:
                continue
            where = f"{module.name}:{item.line}"
            if is_private(str(item)):
                faults.append(f"{where} imports {item}, a private name of {other}")
            if own == CORE and HANDS_ON.get(module.name) != other:
                faults.append(f"{where} imports {item}; core may not know {other}")
            if own != CORE and other != CORE and own != "fast_channels_tools":
                faults.append(f"{where} imports {item}; a backend may not know another package")
            if own != "fast_channels_tools" and item.module.startswith(f"{CORE}.layers."):
                faults.append(f"{where} imports {item}; a backend takes it from {CORE}.layers")
    return faults


MODULES = {sources.parent.name: read_modules(sources) for sources in PACKAGES.glob("*/src")}
IMPORT_NAMES = {module.name.split(".")[0] for modules in MODULES.values() for module in modules}


def test_core_imports_point_one_way() -> None:
    assert not core_faults(MODULES["core"])


@pytest.mark.parametrize("folder", sorted(MODULES))
def test_no_modules_import_each_other_in_a_circle(folder: str) -> None:
    assert not cycles(MODULES[folder])


@pytest.mark.parametrize("folder", sorted(MODULES))
def test_packages_take_only_public_names_from_each_other(folder: str) -> None:
    assert not border_faults(MODULES[folder], IMPORT_NAMES | set(HANDS_ON.values()))


# The guard itself: each bad source has to be seen, and each good one let through.

KNOWN = [Module("fast_channels.layers", "", True), Module("fast_channels.layers.base", "")]


@pytest.mark.parametrize(
    "source",
    [
        "from fast_channels.layers.base import BaseChannelLayer",
        "from fast_channels.layers import base",
        "from fast_channels.layers import BaseChannelLayer",
        "from fast_channels import anything",
        "import fast_channels.layers.base as layer",
        "from .base import BaseChannelLayer",
        "from . import base",
        "from ..consumer import AsyncConsumer",
        "def late():\n    from fast_channels.layers.base import BaseChannelLayer",
        "try:\n    import fast_channels.worker\nexcept ImportError:\n    pass",
        "import importlib\nimportlib.import_module('fast_channels.worker')",
        "if TYPE_CHECKING:\n    pass\nelse:\n    from .base import BaseChannelLayer",
    ],
)
def test_an_import_against_the_direction_is_reported(source: str) -> None:
    [fault] = core_faults([*KNOWN, Module("fast_channels.layers.hub", source)])
    assert fault.startswith("fast_channels.layers.hub:")


@pytest.mark.parametrize(
    "source",
    [
        "from fast_channels.layers.mailbox import Mailbox",
        "from fast_channels.layers import mailbox",
        "from .mailbox import Mailbox",
        "from ..exceptions import ChannelFull",
        "import msgspec, asyncio",
        "if TYPE_CHECKING:\n    from .base import BaseChannelLayer",
        "import typing\nif typing.TYPE_CHECKING:\n    from fast_channels.worker import Worker",
    ],
)
def test_an_import_in_the_direction_passes(source: str) -> None:
    mailbox = Module("fast_channels.layers.mailbox", "")
    assert not core_faults([*KNOWN, mailbox, Module("fast_channels.layers.hub", source)])


def test_a_module_that_the_table_does_not_have_is_reported() -> None:
    [fault] = core_faults([Module("fast_channels.layers.novelty", "")])
    assert "fast_channels.layers.novelty is in no row of ROWS" in fault


def test_a_dot_in_a_package_means_that_package() -> None:
    [fault] = core_faults([*KNOWN, Module("fast_channels.layers", "from .. import consumer", True)])
    assert "imports fast_channels.consumer" in fault


def test_a_circle_within_one_row_is_reported() -> None:
    one = Module("fast_channels.layers.codec", "from .messages import encode")
    two = Module("fast_channels.layers.messages", "def late():\n    from . import codec")
    assert "circle" in "".join(cycles([one, two]))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("fast_channels_tools.demo", "from fast_channels._x import y"),
        ("fast_channels_tools.demo", "from fast_channels.layers import _y"),
        ("fast_channels_tools.demo", "import fast_channels.layers._z"),
        ("fast_channels_redis.backend", "from fast_channels_nats import NatsBackend"),
        ("fast_channels_redis.backend", "from fast_channels_tools import demo"),
        ("fast_channels_redis.backend", "from fast_channels.layers.link import Link"),
        ("fast_channels.worker", "def late():\n    import fast_channels_tools"),
        ("fast_channels.layers.redis", "import fast_channels_nats"),
    ],
)
def test_what_a_package_may_not_take_from_another_is_reported(name: str, source: str) -> None:
    packages = {CORE, "fast_channels_tools", "fast_channels_redis", "fast_channels_nats"}
    assert len(border_faults([Module(name, source)], packages)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("fast_channels_tools.demo", "from fast_channels import __version__, lifespan"),
        ("fast_channels_tools.demo", "from fast_channels_tools._page import page"),
        ("fast_channels_redis.backend", "from fast_channels.layers import Backend"),
        ("fast_channels.layers.redis", "import fast_channels_redis"),
    ],
)
def test_what_a_package_may_take_from_another_passes(name: str, source: str) -> None:
    packages = {CORE, "fast_channels_tools", "fast_channels_redis"}
    assert not border_faults([Module(name, source)], packages)
