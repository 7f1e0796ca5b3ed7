"""``fast-channels layers``: which layers are installed, and which could be."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fast_channels.exceptions import InvalidChannelLayerError
from fast_channels.layers import BaseChannelLayer
from fast_channels.layers.discovery import EXTRAS, GROUP, load_layer

from .connecting import AsJson

OPTIONAL_POWERS: Final = ("queues", "history")
"""Attributes of a backend that are None where the broker cannot do it."""


@dataclass
class Installed:
    """One entry point under all its names, and what is known of its layer without connecting."""

    names: list[str]
    distribution: str
    version: str
    powers: list[str] | None = None
    """None: not known without a connection."""
    problem: str | None = None
    """Why it cannot be used."""


@dataclass
class Installable:
    """What this project publishes and is not installed."""

    names: list[str] = field(default_factory=list[str])
    command: str = ""


def layers(
    as_json: AsJson = False,
) -> None:
    """List the installed layers, and those that could be installed. Exit status: 0."""
    present = installed()
    missing = installable(name for layer in present for name in layer.names)
    if as_json:
        found = {
            "installed": [asdict(each) for each in present],
            "installable": [asdict(each) for each in missing],
        }
        print(json.dumps(found, indent=2))
    else:
        show(Console(highlight=False), present, missing)


def installed() -> list[Installed]:
    """Return the installed layers, by the name of their distribution."""
    found: dict[tuple[str, str, str], Installed] = {}
    entries = sorted(entry_points(group=GROUP), key=lambda entry: (_dist(entry), entry.name))
    for entry in entries:
        key = (*_dist(entry), entry.value)
        layer = found.setdefault(key, Installed([], *_dist(entry)))
        if entry.name not in layer.names:
            layer.names.append(entry.name)
    for layer in found.values():
        _look(layer)
    return list(found.values())


def installable(present: Iterable[str]) -> list[Installable]:
    """Return what this project publishes and is not there."""
    extras = {EXTRAS[name] for name in present if name in EXTRAS}
    found: dict[str, Installable] = {}
    for name, extra in EXTRAS.items():
        if extra not in extras:
            command = f"pip install 'fast-channels[{extra}]'"
            found.setdefault(extra, Installable(command=command)).names.append(name)
    return list(found.values())


def show(console: Console, present: list[Installed], missing: list[Installable]) -> None:
    """The tables are printed."""
    table = Table(box=box.SIMPLE)
    for column in ("Names", "Distribution", "Version"):
        table.add_column(column, no_wrap=True)
    table.add_column("Powers")
    for layer in present:
        powers = "not known" if layer.powers is None else ", ".join(layer.powers)
        table.add_row(
            "\n".join(layer.names),
            layer.distribution,
            layer.version,
            "[red]cannot be used: see below[/]" if layer.problem else powers,
        )
    console.print(table)
    for layer in present:
        if layer.problem:
            console.print(layer.problem, style="red", markup=False, soft_wrap=True)
    if missing:
        table = Table("Not installed", "Command", box=box.SIMPLE)
        for each in missing:
            table.add_row(", ".join(each.names), Text(each.command))  # "[redis]" is no markup
        console.print(table)


def powers_of(layer: object) -> list[str] | None:
    """Return the powers of a layer that is not open; None where only its backend would tell."""
    if not isinstance(layer, BaseChannelLayer):
        return None
    try:
        backend = layer.create_backend()
    except InvalidChannelLayerError:
        return None  # it overrides the methods of a layer, and has none
    has = [power for power in OPTIONAL_POWERS if getattr(backend, power, None) is not None]
    return ["groups", "presence", *has]


def _look(layer: Installed) -> None:
    """Note the layer's powers, or why it cannot be used; nothing is connected."""
    try:
        factories = {name: load_layer(name) for name in layer.names}
    except InvalidChannelLayerError as error:
        layer.problem = str(error)
        return
    for name, factory in factories.items():
        made: Any = None
        try:
            made = factory(url=f"{name}://localhost")
        except Exception:
            continue  # it wants more than a host, which is no fault; another name may not
        layer.powers = powers_of(made)
        return


def _dist(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else ("(unnamed)", "")
