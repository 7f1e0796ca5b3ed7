"""Finds what a command line names; what cannot be found is one line, and exit status 2."""

import importlib
import os
import sys
import traceback
from collections.abc import Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Any, Final

from fast_channels.layers import ChannelLayer, channel_layers, register_channel_layer

VARIABLE: Final = "env:"


class CommandError(Exception):
    """A command cannot go on; the text says why and what to change.

    ``status`` is the exit status: 2 for a command line that is wrong, 1 for everything else.
    """

    def __init__(self, text: str, status: int = 2) -> None:
        super().__init__(text)
        self.status = status


def load_application(name: str) -> Any:
    """Return what ``module:attribute`` names; modules of the working directory are found, too.

    An exception of the module itself is shown with its traceback before it is a ``CommandError``.
    """
    module_name, _, path = name.partition(":")
    if not module_name or not path:
        raise CommandError(f"{name!r} names no application; write module:application")
    found: Any = _import(module_name)
    for attribute in path.split("."):
        if not hasattr(found, attribute):
            close = get_close_matches(attribute, dir(found), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise CommandError(f"module {module_name!r} has no {path!r}{hint}")
        found = getattr(found, attribute)
    return found


def find_layer(name: str) -> ChannelLayer:
    """Return the layer of that alias; a URL is made a layer, and the process's default."""
    name = resolved(name)
    try:
        if "://" in name:
            return register_channel_layer("default", name)
        return channel_layers.require(name)
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error


def resolved(url: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the URL, from a variable if it says so (``env:NAME``)."""
    name = url.removeprefix(VARIABLE)
    if name == url:
        return url
    if not environ.get(name):
        raise CommandError(f"the variable {name!r} is not set; it has to hold the URL of a layer")
    return environ[name]


def _import(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            raise CommandError(
                f"there is no module {missing!r}, neither installed nor in {here}"
            ) from error
        traceback.print_exc()
        raise CommandError(f"cannot import {name!r}: {type(error).__name__}: {error}") from error
