"""Aliases of channel layers: register once at start-up, look up anywhere."""

import difflib
import importlib
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from fast_channels.exceptions import InvalidChannelLayerError, LayerNotFound
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.layers.discovery import load_layer, source_of
from fast_channels.layers.protocol import ChannelLayer

Source = ChannelLayer | str | Mapping[str, Any]
"""A layer, its entry-point name, its URL, or ``{"BACKEND": ..., "CONFIG": {...}}``."""


class ChannelLayerRegistry:
    """Layers by alias."""

    def __init__(self) -> None:
        self._layers: dict[str, ChannelLayer] = {}

    def register(self, alias: str, layer: Source, **settings: Any) -> ChannelLayer:
        """The alias names this layer from now on, which is returned; nothing is connected yet.

        ``layer`` is a layer, the name of an installed one (``"redis"``), a URL whose scheme is such
        a name (``"redis://localhost:6379/0"``), or a dict of settings. ``settings`` are the options
        of the layer. Raises ``LayerNotFound`` for an unknown name, ``TypeError`` or ``ValueError``
        for bad settings.
        """
        if not isinstance(cast("object", alias), str) or not alias:
            raise TypeError(f"alias must be a non-empty str, got {alias!r}")
        if isinstance(layer, str):
            layer = _from_name(layer, settings)
        elif isinstance(layer, Mapping):
            layer = _from_mapping(layer, settings)
        elif settings:
            raise TypeError(
                f"settings {sorted(settings)} were given for a layer that is made already"
            )
        elif not _is_layer(layer):
            raise TypeError(
                f"layer {alias!r} must be a channel layer, a name, a URL or a dict, got {layer!r}"
            )
        self._layers[alias] = layer
        return layer

    def unregister(self, alias: str) -> None:
        """The alias names no layer; no error if it did not."""
        self._layers.pop(alias, None)

    def get(self, alias: str) -> ChannelLayer | None:
        """Return the layer of that alias, or None."""
        return self._layers.get(alias)

    def require(self, alias: str) -> ChannelLayer:
        """Return the layer of that alias; ``LayerNotFound`` lists the aliases there are."""
        layer = self._layers.get(alias)
        if layer is None:
            known = ", ".join(map(repr, self._layers)) or "none"
            close = difflib.get_close_matches(alias, self._layers, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise LayerNotFound(
                f"no channel layer is registered as {alias!r}; registered: {known}{hint} "
                f"(register one with register_channel_layer({alias!r}, 'memory://'))"
            )
        return layer

    def list_aliases(self) -> list[str]:
        """Return all aliases, in the order of their registration."""
        return list(self._layers)

    def clear(self) -> None:
        """No alias is known."""
        self._layers.clear()

    def __contains__(self, alias: object) -> bool:
        return alias in self._layers

    def __getitem__(self, alias: str) -> ChannelLayer:
        return self.require(alias)

    def __len__(self) -> int:
        return len(self._layers)


channel_layers = ChannelLayerRegistry()
"""The process's registry."""


def register_channel_layer(alias: str, layer: Source, **settings: Any) -> ChannelLayer:
    """The alias names this layer from now on: see ``ChannelLayerRegistry.register``."""
    return channel_layers.register(alias, layer, **settings)


def unregister_channel_layer(alias: str) -> None:
    """The alias names no layer."""
    channel_layers.unregister(alias)


def get_channel_layer(alias: str = "default") -> Any:
    """Return the layer of that alias, or None (as in Django Channels)."""
    return channel_layers.get(alias)


def has_layers() -> bool:
    """True when any layer is registered."""
    return len(channel_layers) > 0


def _from_name(name: str, settings: Mapping[str, Any]) -> ChannelLayer:
    """Make the layer of an entry-point name or URL."""
    if "://" in name and (scheme := _scheme_of(name)):
        return _build(scheme, {"url": name, **settings})
    if not name or any(mark in name for mark in ":/@ "):
        raise InvalidChannelLayerError(
            f"{_redacted(name)} is neither the name of a layer nor a URL with a scheme; write for "
            "example 'memory://' or 'redis://localhost:6379/0'"
        )
    return _build(name, settings)


def _scheme_of(url: str) -> str:
    """Return the URL's scheme; empty where it is none."""
    try:
        return urlsplit(url).scheme
    except ValueError:  # which would repeat the URL, and the password in it
        return ""


def _from_mapping(config: Mapping[str, Any], settings: Mapping[str, Any]) -> ChannelLayer:
    """Make the layer of ``{"BACKEND": name, URL or dotted path, "CONFIG": options}``."""
    lowered = {key.lower(): value for key, value in config.items()}
    backend = lowered.pop("backend", None)
    nested = lowered.pop("config", {})
    if not isinstance(backend, str):
        raise InvalidChannelLayerError(
            f"a layer's settings need a 'backend' (a name, URL or dotted path), got {backend!r}"
        )
    lowered.pop("test_config", None)
    options = {**lowered, **nested, **settings}
    if "://" in backend or "." not in backend:
        return _from_name(backend, options)
    module, _, attribute = backend.rpartition(".")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InvalidChannelLayerError(f"cannot import {backend!r}: {error}") from error
    return _made(factory, options)


def _build(name: str, settings: Mapping[str, Any]) -> ChannelLayer:
    layer = _made(load_layer(name), settings)
    if not _is_layer(layer):
        raise InvalidChannelLayerError(
            f"layer {name!r} ({source_of(name)}) returned {layer!r}, which is no channel layer; "
            "its entry point must name a callable that returns one"
        )
    return layer


def _is_layer(layer: object) -> bool:
    methods = ("send", "receive", "new_channel")
    return not isinstance(layer, type) and all(hasattr(layer, name) for name in methods)


def _made(factory: Callable[..., Any], settings: Mapping[str, Any]) -> ChannelLayer:
    layer = cast("ChannelLayer", factory(**settings))
    if isinstance(layer, BaseChannelLayer) and "gaps" not in settings:
        layer.enable_gaps()
    return layer


def _redacted(name: str) -> str:
    """Return the text without what may be a password: ``user:secret@host``."""
    _, at, host = name.rpartition("@")
    return repr(f"***@{host}" if at else name)
