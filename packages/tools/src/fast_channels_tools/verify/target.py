"""What is verified: a layer by its URL, and what it claims."""

import secrets
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from fast_channels.exceptions import InvalidChannelLayerError
from fast_channels.layers import (
    BaseChannelLayer,
    ChannelLayer,
    ChannelLayerRegistry,
    PresenceLayer,
)
from fast_channels.layers.discovery import load_layer, source_of
from fast_channels_tools.connecting import resolved, shown
from fast_channels_tools.layers import powers_of


@dataclass(frozen=True)
class Target:
    """A layer that can be made any number of times, and what is claimed of it."""

    url: str = field(repr=False)
    source: str
    """The distribution that it comes from, and its version."""
    powers: frozenset[str]
    """The optional powers, as the kit knows them."""
    has_presence: bool
    has_backend: bool
    has_sync: bool
    queue_capacity: int | None
    patience: float
    order_across_topics: bool
    redelivers: bool
    exact_history: bool

    @classmethod
    def of(cls, url: str, patience: float, order_per_topic: bool, redelivers: bool) -> Self:
        """Return the target of the URL (or name); raises what ``register_channel_layer`` does."""
        url = resolved(url)
        layer = ChannelLayerRegistry().register("verified", url)
        base = layer if isinstance(layer, BaseChannelLayer) else None
        powers = powers_of(layer)
        history = base.create_backend().history if base is not None and powers else None
        return cls(
            url,
            source_of(_name(url)),
            frozenset(powers or ()) - {"groups", "presence"},
            isinstance(layer, PresenceLayer),
            powers is not None,
            hasattr(layer, "sync"),
            base.options.queue_capacity_of("any") if base is not None else None,
            patience,
            not order_per_topic,
            redelivers,
            history.exact if history is not None else True,
        )

    @property
    def secret(self) -> str | None:
        """The password of the URL."""
        password = urlsplit(self.url).password if "://" in self.url else None
        return unquote(password) if password else None

    @property
    def shown_powers(self) -> list[str]:
        """All powers, for people."""
        return ["groups", *(["presence"] if self.has_presence else []), *sorted(self.powers)]

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return shown(self.url)

    def build(self, **options: Any) -> ChannelLayer:
        """Return a new layer with these options."""
        url = {"url": self.url} if "://" in self.url else {}
        made: ChannelLayer = load_layer(_name(self.url))(**url, **options)
        return made

    async def probed(self) -> "Target":
        """Return it when the broker has answered; raises ``BackendUnavailable`` otherwise.

        Whether a layer without a backend has worker queues is seen by using one.
        """
        layer = self.build(prefix=f"verify-{secrets.token_hex(6)}")
        try:
            await layer.open()
            if self.has_backend:
                return self
            await layer.send("verify", {"type": "verify"})
            await layer.receive("verify")
        except InvalidChannelLayerError:
            return self
        finally:
            await layer.close()
        return replace(self, powers=self.powers | {"queues"})


def _name(url: str) -> str:
    return urlsplit(url).scheme if "://" in url else url
