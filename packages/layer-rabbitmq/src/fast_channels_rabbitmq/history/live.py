"""What comes live of one stream: entries for those topics that are subscribed to."""

from collections.abc import Iterable
from typing import Final

from fast_channels.layers import Inbox, Position
from fast_channels_rabbitmq.history.ids import Ids
from fast_channels_rabbitmq.history.records import BITS, sections

MOST_TOPICS: Final = 16_384
"""Topics of a stream whose last entry is remembered."""


class Live:
    """Hands on what comes of a stream, and remembers of it what spares reading."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.topics: dict[str, None] = {}
        """What is subscribed to."""
        self.ids = Ids(0)
        """The ids in what came, at least."""
        self._base = 0
        """The first message that came."""
        self._latest: dict[str, int] = {}

    def begin(self, offset: int) -> None:
        """What comes begins with this message."""
        self._latest.clear()
        self.ids, self._base = Ids(offset), offset

    def drop(self, topics: Iterable[str]) -> None:
        """Nothing of the topics is handed on any more."""
        for topic in topics:
            self.topics.pop(topic, None)

    def latest(self, topic: str) -> int | None:
        """Return where the last entry of the topic is; None: none came, or long ago."""
        return self._latest.get(topic)

    def before(self, topic: str) -> int | None:
        """Return a message after which the topic has no entry; None: that is not known."""
        latest = self._latest.get(topic)
        if latest is not None:
            return latest >> BITS
        return self._base if len(self._latest) < MOST_TOPICS else None

    def has_nothing(self, topic: str, after: int) -> bool:
        """Return whether it is known that the topic has no entry after that position."""
        latest = self._latest.get(topic)
        if latest is not None:
            return after >= latest
        return after >> BITS >= self._base and len(self._latest) < MOST_TOPICS

    def take(self, offset: int, body: bytes, epoch: str) -> int | None:
        """Hand on a message's entries, each with an id once.

        Returns None; or, having done nothing, from which message on ids have to be read before.
        """
        found = list(sections(body))
        ids, base = self.ids, offset << BITS
        if found and found[0].seen < ids.since and any(each.has_ids for each in found):
            return found[0].seen
        topics, latest, deliver = self.topics, self._latest, self.inbox.deliver
        for section in found:
            topic = section.topic
            latest[topic] = base + section.before + section.count
            if section.has_ids:
                for place, known, payload in section.entries():
                    position = base + place + 1
                    twice = known and ids.note(known, position, section.ends, section.seen)
                    if topic in topics and not twice:
                        deliver(topic, payload, Position(epoch, position))
            elif topic in topics:
                for place, _, payload in section.entries():
                    deliver(topic, payload, Position(epoch, base + place + 1))
        while len(latest) > MOST_TOPICS:
            del latest[next(iter(latest))]
        return None
