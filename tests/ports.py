"""Ports for servers that a test starts, perhaps kills, and starts again where they were."""

import socket
import sys


class Port:
    """A number on which nobody listens, and that nobody else gets as long as this object lives.

    Not while the server has yet to start, either, nor between its death and its return: a socket is
    bound there, which does not listen, so that who connects is refused. Elsewhere than on Linux
    that would keep the server out, too, and the number is only likely to stay free.
    """

    def __init__(self, offset: int = 0) -> None:
        """So is the number that is larger by ``offset``, for servers that listen there, too."""
        self._held: list[socket.socket] = []
        self.number: int = self._hold(0)
        while offset and not self._holds(self.number + offset):
            self.release()
            self.number = self._hold(0)
        if sys.platform != "linux":
            self.release()

    def _holds(self, number: int) -> bool:
        try:
            self._hold(number)
        except (OSError, OverflowError):  # somebody else's, or none at all
            return False
        return True

    def _hold(self, number: int) -> int:
        held = socket.socket()
        self._held.append(held)
        held.bind(("127.0.0.1", number))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # lets in who sets it, too
        bound: int = held.getsockname()[1]
        return bound

    def release(self) -> None:
        """Anybody may have it."""
        while self._held:
            self._held.pop().close()

    def __del__(self) -> None:
        self.release()


def free_port() -> int:
    """Return a number on which nobody listens now."""
    return Port().number
