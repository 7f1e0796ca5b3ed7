"""A port that a test holds for its server is the server's, whether that runs or not."""

import socket
import sys

import pytest
from tests.ports import Port, free_port


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port cannot be held for a server")
def test_a_port_that_is_held_lets_in_servers_and_nobody_else() -> None:
    held = Port(offset=7)
    for number in (held.number, held.number + 7):
        for _ in range(2):  # before the server's start, and when it was killed
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", number))
            with pytest.raises(OSError, match="in use"), socket.socket() as other:
                other.bind(("127.0.0.1", number))
            with socket.create_server(("127.0.0.1", number)):  # which sets SO_REUSEADDR
                socket.create_connection(("127.0.0.1", number)).close()


def test_a_port_is_everybodys_when_it_is_held_no_longer() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port()))
