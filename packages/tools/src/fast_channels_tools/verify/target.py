"""What is verified: a layer by its URL, and what it claims."""

import secrets
from dataclasses import dataclass, replace
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from fast_channels.exceptions import InvalidChannelLayerError
from fast_channels.layers import BaseChannelLayer, ChannelLayer, PresenceLayer
from fast_channels.layers.discovery import load_layer, source_of
from fast_channels_tools.connecting import Place
from fast_channels_tools.layers import powers_of

LONGEST: Final = 40
"""Characters of a prefix; the kit adds to it, and 63 are all that a layer takes."""


@dataclass(frozen=True)
class Target:
    """A layer that can be made any number of times, and what is claimed of it."""

    place: Place
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
    def of(cls, place: Place, patience: float, order_per_topic: bool, redelivers: bool) -> Self:
        """Return the target at the place; raises what ``register_channel_layer`` does.

        The place's keys are no part of it: that messages are sealed is tried with other ones.
        """
        if len(place.prefix) > LONGEST:
            raise ValueError(
                f"the prefix {place.prefix!r} has {len(place.prefix)} characters; those tried are "
                f"longer, and begin with it, so give at most {LONGEST} of them"
            )
        place = replace(place, keys=())
        layer = place.layer()
        base = layer if isinstance(layer, BaseChannelLayer) else None
        powers = powers_of(layer)
        history = base.create_backend().history if base is not None and powers else None
        return cls(
            place,
            source_of(place.name),
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
        url = self.place.url
        password = urlsplit(url).password if "://" in url else None
        return unquote(password) if password else None

    @property
    def shown_powers(self) -> list[str]:
        """All powers, for people."""
        return ["groups", *(["presence"] if self.has_presence else []), *sorted(self.powers)]

    def build(self, **options: Any) -> ChannelLayer:
        """Return a new layer with these options, and the place's."""
        url = {"url": self.place.url} if "://" in self.place.url else {}
        given = {"prefix": self.place.prefix, **self.place.options, **options}
        made: ChannelLayer = load_layer(self.place.name)(**url, **given)
        return made

    async def probed(self) -> "Target":
        """Return it when the broker has answered; raises ``BackendUnavailable`` otherwise.

        Whether a layer without a backend has worker queues is seen by using one.
        """
        layer = self.build(prefix=f"{self.place.prefix}-{secrets.token_hex(6)}")
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
