"""What a notification of a durable group says: which entry, where it is, and a piece of it.

It is ``<topic>#<number>.<epoch>.<piece>.<pieces> <base64>``. The pieces of an entry come in order,
with nothing of the same topic in between, for they are of one transaction.
"""

from fast_channels.layers import Position
from fast_channels_postgres.names import decode


class Pieces:
    """Puts entries together."""

    def __init__(self) -> None:
        self._begun: dict[str, list[bytes]] = {}

    def clear(self) -> None:
        """The rest of what has begun will not come."""
        self._begun.clear()

    def add(self, topic: str, mark: str, body: str) -> tuple[bytes, Position] | None:
        """Return the entry that is complete now; None: there is more to come, or it is no piece."""
        number, _, rest = mark.partition(".")
        epoch, _, count = rest.partition(".")
        piece, _, pieces = count.partition(".")
        if not (number.isdecimal() and piece.isdecimal() and pieces.isdecimal()):
            return None
        payload = decode(body)
        if pieces != "1":
            if piece == "1":
                self._begun[topic] = []
            begun = self._begun.get(topic)
            if begun is None or len(begun) + 1 != int(piece):
                return None
            begun.append(payload)
            if piece != pieces:
                return None
            payload = b"".join(self._begun.pop(topic))
        return payload, Position(epoch, int(number))
