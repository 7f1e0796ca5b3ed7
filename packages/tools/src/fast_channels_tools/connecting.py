"""What commands that speak to a broker share: its URL, the layer's prefix and its keys.

No text made here has a password.
"""

import asyncio
import json
import logging
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Self, TypeVar, cast
from urllib.parse import unquote

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from typer import Argument, Option

from fast_channels.exceptions import FastChannelsError, InvalidChannelLayerError
from fast_channels.layers import ChannelLayer, ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels.layers.discovery import EXTRAS, installed_layers

from .loading import CommandError, resolved

T = TypeVar("T")

KEYS: Final = "FAST_CHANNELS_ENCRYPTION_KEYS"
"""The variable that holds what the application gives as ``encryption_keys``, with spaces between.

Not an option: everybody on the machine sees the command line of a process.
"""

_CONTROLS: Final = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What JSON leaves as it is, and a terminal obeys: the C1 controls, and those of direction."""

_SILENCE: Final = logging.NullHandler()

Url = Annotated[
    str,
    Argument(
        metavar="URL",
        help="As for register_channel_layer; env:NAME takes it from that variable.",
        show_default=False,
    ),
]
Prefix = Annotated[
    str,
    Option(metavar="NAME", envvar="FAST_CHANNELS_PREFIX", help="That of the application's layer."),
]
Options = Annotated[
    str,
    Option(
        "--options",
        metavar="JSON",
        envvar="FAST_CHANNELS_OPTIONS",
        help='Other options of that layer, as {"max_payload": 100000}.',
    ),
]
AsJson = Annotated[bool, Option("--json", help="For programs, on stdout.")]


@dataclass(frozen=True)
class Place:
    """Where layers are made, and how: what the application's own layer is made with."""

    url: str = field(repr=False)
    prefix: str = "fc"
    keys: tuple[str, ...] = field(default=(), repr=False)
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False, hash=False)
    """Of the application's layer, besides these."""

    @classmethod
    def of(
        cls, url: str, prefix: str, options: str = "{}", environ: Mapping[str, str] = os.environ
    ) -> Self:
        """Return it; raises ``CommandError`` for what names no layer, a variable that is not set,
        or options that are no JSON object."""
        url = resolved(url, environ)
        if "://" not in url and url not in {*EXTRAS, *installed_layers()}:
            raise CommandError(
                f"{url.rpartition('@')[2]!r} is no URL of a layer; write for example "
                f"redis://{url.rpartition('@')[2]}"
            )
        return cls(url, prefix, tuple(environ.get(KEYS, "").split()), parsed_options(options))

    @property
    def name(self) -> str:
        """What the entry point of the layer is called."""
        return self.url.partition("://")[0].lower()

    @property
    def shown(self) -> str:
        """The URL for people: without a password or token."""
        return shown(self.url)

    @property
    def user(self) -> str | None:
        """Who the URL says we are."""
        user, colon, _ = _before_host(self.url).partition(":")
        return (unquote(user) or None) if colon else None

    def hide(self, text: str) -> str:
        """Return the text without the URL's password."""
        secret = _before_host(self.url).partition(":")[2] or _before_host(self.url)
        for form in {secret, unquote(secret)} - {""}:
            text = text.replace(f":{form}@", ":***@")
            text = text.replace(form, "***") if len(form) > 3 else text  # else it is in any word
        return text

    def layer(self, **options: Any) -> ChannelLayer:
        """Return a new layer, as an application that registers it has one.

        Raises what ``register_channel_layer`` raises.
        """
        keys = {"encryption_keys": list(self.keys)} if self.keys else {}
        given = {**self.options, **keys, **options, "prefix": self.prefix}
        return ChannelLayerRegistry().register("used", self.url, **given)


def parsed_options(text: str) -> dict[str, Any]:
    """Return the options of a layer; raises ``CommandError`` for what is no JSON object of such."""
    try:
        options = json.loads(text)
    except ValueError as error:
        raise CommandError(f"--options is no JSON: {error}") from error
    if not isinstance(options, dict):
        raise CommandError(
            f'--options must be a JSON object such as {{"max_payload": 100000}}, got {text:.80}'
        )
    if "prefix" in options:
        raise CommandError("--options has a 'prefix'; give it as --prefix")
    return cast("dict[str, Any]", options)


def shown(url: str) -> str:
    """Return the URL without its password, wherever a URL may have one."""
    scheme, mark, rest = url.partition("://")
    access, at, place = rest.rpartition("@")
    if at:
        user, colon, _ = access.partition(":")
        rest = f"{user}:***@{place}" if colon else f"***@{place}"
    rest = re.sub(r"((?:password|token|secret)\w*=)[^&]*", r"\1***", rest, flags=re.IGNORECASE)
    return f"{scheme}{mark}{rest}"


def used(work: Callable[[], Coroutine[Any, Any, T]], place: Place) -> T:
    """Return what a command's coroutine does; what goes wrong at the broker is one line.

    Exit status 1 for a broker's trouble, 2 for what the command line got wrong. What no layer may
    raise is shown with its traceback before the line. No password is in either.
    ``KeyboardInterrupt`` comes through, and ``BrokenPipeError`` of an output that nobody reads.
    """
    try:
        return asyncio.run(work())
    except BrokenPipeError:
        raise
    except Exception as error:
        cause: Exception = error
        while together := getattr(cause, "exceptions", ()):  # of a group of tasks
            cause = together[0]
        text = place.hide(str(cause))
        if isinstance(cause, InvalidChannelLayerError | TypeError | ValueError):
            raise CommandError(text) from error
        if isinstance(cause, FastChannelsError):
            raise CommandError(text, status=1) from error
        print(place.hide(traceback.format_exc()), end="", file=sys.stderr)
        raise CommandError(f"{type(cause).__name__}: {text}", status=1) from error


def tell_if_alone(layer: ChannelLayer) -> None:
    """Who uses a layer that no other process has part in is told so, on stderr."""
    if isinstance(layer, InMemoryChannelLayer):
        print("note: a memory layer is in one process alone; nobody else hears it", file=sys.stderr)


def quiet() -> None:
    """What a layer logs is not shown: the command tells of it itself."""
    logging.getLogger("fast_channels").addHandler(_SILENCE)


def bar(*columns: ProgressColumn) -> Progress:
    """Return a progress bar on stderr, which nobody sees unless that is a terminal."""
    console = Console(stderr=True)
    shapes = (TextColumn("{task.description}"), BarColumn(), *columns)
    return Progress(*shapes, console=console, transient=True, disable=not console.is_terminal)


def line(value: Mapping[str, Any]) -> str:
    """Return one line of JSON, which does nothing to a terminal.

    What JSON has not, as bytes and numbers that are not finite, is text.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, default=_as_text, allow_nan=False)
    except ValueError:  # seldom, so it is looked for only then
        text = json.dumps(_finite(value), ensure_ascii=False, default=_as_text)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


async def closed(*layers: ChannelLayer, seconds: float) -> None:
    """The layers are closed, or have not managed it in so many seconds."""
    with suppress(TimeoutError, FastChannelsError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(layer.close() for layer in layers))


def _before_host(url: str) -> str:
    """Return what stands before the ``@``: user and password, or a token."""
    return url.partition("://")[2].rpartition("@")[0]


def _finite(value: object) -> Any:
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return {key: _finite(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in cast("list[object]", value)]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _as_text(value: object) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
