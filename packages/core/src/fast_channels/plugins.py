"""Plugins: what many may listen to, through pluggy (entry-point group ``fast_channels.plugins``).

A plugin is an object with any of the hooks of ``Hooks``, each marked ``@hookimpl``. Hooks tell of
life and losses, never of single messages; throughput is in ``layer.stats()``. A plugin that cannot
be loaded, or raises, is named in the log, and everything else goes on.
``FAST_CHANNELS_DISABLE_PLUGINS=1`` loads none.
"""

import importlib
import logging
import os
import threading
from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from fast_channels.layers import events

if TYPE_CHECKING:
    import pluggy

    hookimpl: pluggy.HookimplMarker

logger = logging.getLogger("fast_channels.plugins")

PROJECT: Final = "fast_channels"
GROUP: Final = "fast_channels.plugins"


class Hooks:
    """The hooks; implement those you want, with any subset of the arguments."""

    def layer_opened(self, layer: Any, node: str) -> None:
        """A session of the layer is connected."""

    def layer_closing(self, layer: Any, node: str) -> None:
        """A session of the layer is about to let go of its connection."""

    def layer_gap(self, layer: Any, cause: Exception, topics: Collection[str] | None) -> None:
        """Messages may have been missed on ``topics`` (None: on any)."""

    def messages_dropped(self, layer: Any, losses: Mapping[str, int]) -> None:
        """Messages were lost within the last second: how many, by reason."""

    def consumer_started(self, consumer: Any) -> None:
        """A connection has its consumer."""

    def consumer_finished(self, consumer: Any) -> None:
        """A consumer is done, and in no group any more."""

    def consumer_failed(self, consumer: Any, exception: BaseException) -> None:
        """A consumer ended by an exception."""


_HOOKS: Final = tuple(name for name in vars(Hooks) if not name.startswith("_"))


def __getattr__(name: str) -> Any:
    # pluggy is imported when a plugin asks for the marker, or at the first event.
    if name == "hookimpl":
        return importlib.import_module("pluggy").HookimplMarker(PROJECT)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_loading: Final = threading.RLock()
"""Held while plugins are loaded, and taken before a fork: a child forked in the middle of an import
could never import that module."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_loading.acquire,
        after_in_parent=_loading.release,
        after_in_child=_loading.release,
    )


def manager() -> "pluggy.PluginManager":
    """Return the process's plugin manager, with every installed plugin registered."""
    with _loading:  # or two loops that open their first session at once would make two
        return _load()


@cache
def _load() -> "pluggy.PluginManager":
    import pluggy  # at the first event only: importing fast_channels stays cheap

    specify = pluggy.HookspecMarker(PROJECT)
    made = pluggy.PluginManager(PROJECT)
    specs = type("Specs", (), {name: specify(getattr(Hooks, name)) for name in _HOOKS})
    made.add_hookspecs(specs)
    if os.environ.get("FAST_CHANNELS_DISABLE_PLUGINS", "") not in ("", "0"):
        return made
    for entry in entry_points(group=GROUP):
        source = (
            f"{entry.name!r} ({entry.dist.name} {entry.dist.version})" if entry.dist else entry.name
        )
        try:
            plugin = entry.load()
            made.register(plugin() if isinstance(plugin, type) else plugin, name=entry.name)
            made.check_pending()
        except Exception:
            logger.exception("plugin %s could not be loaded; going on without it", source)
            made.unregister(name=entry.name) if made.has_plugin(entry.name) else None
    return made


def register(plugin: object, name: str | None = None) -> None:
    """The plugin is told of every later event.

    Raises ``ValueError`` for a hook that does not exist, and for a plugin that is registered.
    """
    plugins = manager()
    plugins.register(plugin, name)
    unknown = [
        implementation.function.__name__
        for hook in plugins.get_hookcallers(plugin) or ()
        if hook.spec is None
        for implementation in hook.get_hookimpls()
        if implementation.plugin is plugin
    ]
    if unknown:
        plugins.unregister(plugin)
        raise ValueError(
            f"plugin {plugin!r} implements {', '.join(unknown)}, and no hook has that name; "
            f"the hooks are: {', '.join(_HOOKS)}"
        )


def unregister(plugin: object) -> None:
    """The plugin is told of nothing any more."""
    manager().unregister(plugin)


def _tell(event: str, **facts: Any) -> None:
    hook = getattr(manager().hook, event)
    # One by one: pluggy ends a call at the first plugin that raises.
    for implementation in reversed(hook.get_hookimpls()):
        try:
            implementation.function(*(facts[name] for name in implementation.argnames))
        except Exception:
            logger.exception("plugin %r failed at %s", implementation.plugin_name, event)


events.connect(_tell)
