"""Finds layers by name: the entry-point group ``fast_channels.layers``.

Only the entry point of the name asked for is loaded. Every error says who, what, and the command to
run next.
"""

import difflib
import re
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, cast

from fast_channels.exceptions import InvalidChannelLayerError, LayerNotFound

GROUP: Final = "fast_channels.layers"

LayerFactory = Callable[..., Any]
"""Called with the layer's options, and ``url=`` where given; returns a ``ChannelLayer``."""

EXTRAS: Final = {
    "redis": "redis",
    "rediss": "redis",
    "redis+sentinel": "redis",
    "rediss+sentinel": "redis",
    "redis+cluster": "redis",
    "rediss+cluster": "redis",
    "valkey": "redis",
    "postgres": "postgres",
    "postgresql": "postgres",
    "rabbitmq": "rabbitmq",
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "nats": "nats",
    "tls": "nats",
}
"""Names of the layers that this project publishes, and the extra that installs each."""


def installed_layers() -> list[str]:
    """Return the names of all installed layers; nothing is imported."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def load_layer(name: str) -> LayerFactory:
    """Return the factory of the layer with that name.

    Raises ``LayerNotFound`` when it is unknown or not installed, ``InvalidChannelLayerError`` when
    two distributions claim the name, or the one that does cannot be imported.
    """
    entry = _find(name)
    try:
        factory = cast("object", entry.load())
    except Exception as error:
        raise InvalidChannelLayerError(
            f"layer {name!r} ({_source(entry)}) is installed but could not be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not callable(factory):
        raise InvalidChannelLayerError(
            f"layer {name!r} ({_source(entry)}) is no callable but {factory!r}; its entry point "
            f"{entry.value!r} must name a callable that returns a channel layer"
        )
    return factory


def source_of(name: str) -> str:
    """Return the distribution of the layer with that name, and its version; raises as above."""
    return _source(_find(name))


def _find(name: str) -> EntryPoint:
    # The same distribution may be seen twice (an editable install beside its metadata).
    found = {(_source(entry), entry.value): entry for entry in entry_points(group=GROUP, name=name)}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        sources = " and ".join(sorted(source for source, _ in found))
        raise InvalidChannelLayerError(
            f"layer {name!r} is claimed by {sources}; uninstall all but one of them"
        )
    if name in EXTRAS:
        raise LayerNotFound(
            f"layer {name!r} is not installed; run: pip install 'fast-channels[{EXTRAS[name]}]'"
        )
    known = installed_layers()
    close = difflib.get_close_matches(name, [*known, *EXTRAS], n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"install its package{_like(name)}"
    raise LayerNotFound(f"no layer named {name!r}; installed: {', '.join(known)}; {hint}")


def _like(name: str) -> str:
    """Return how such a package is called by convention, where the name can be part of one."""
    return f", by convention fast-channels-{name}" if re.fullmatch(r"[A-Za-z0-9-]+", name) else ""


def _source(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unnamed distribution"
