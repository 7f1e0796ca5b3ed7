"""Programs that end, in every way that a process may, after they used a layer."""

# ruff: noqa: T201  what they print is for their test

import atexit
import signal
import sys
import threading
import time
from contextlib import suppress

from talking import PATIENCE, message, pending, talk_in_sync
from tcp_broker import TCPLayer

from fast_channels.exceptions import BackendUnavailable, LayerClosed
from fast_channels.layers import BaseChannelLayer

impatient: BaseChannelLayer
"""As an application's layer, it is there until the process ends."""


def ends_normally(layer: BaseChannelLayer) -> None:
    talk_in_sync(layer, 1)


def ends_by_exit(layer: BaseChannelLayer) -> None:
    talk_in_sync(layer, 1)
    sys.exit(0)


def ends_after_use_from_atexit(layer: BaseChannelLayer) -> None:
    """What was registered before the first call still runs before the loop is stopped."""
    atexit.register(lambda: print(talk_in_sync(layer, "late") and "arrived"))
    talk_in_sync(layer, 1)


def ends_under_a_receiver(layer: BaseChannelLayer) -> None:
    """A daemon thread waits for a message that never comes."""
    name = talk_in_sync(layer, 1)
    threading.Thread(target=layer.sync.receive, args=(name,), daemon=True).start()
    talk_in_sync(layer, 2)


def ends_under_senders(layer: BaseChannelLayer) -> None:
    """Daemon threads send for as long as there is a process."""
    name = talk_in_sync(layer, 1)
    first = threading.Barrier(4, timeout=PATIENCE)

    def send() -> None:
        layer.sync.group_send("somebody", message(0))
        first.wait()
        while True:
            layer.sync.group_send("somebody", message(0))

    for _ in range(3):
        threading.Thread(target=send, daemon=True).start()
    first.wait()
    layer.sync.send(name, message(2))


def ends_while_the_broker_is_frozen(layer: BaseChannelLayer) -> None:
    """Its test freezes the broker when it reads the line; one send is under way then."""
    global impatient
    layer = impatient = TCPLayer(sys.argv[2], send_timeout=2.0)
    talk_in_sync(layer, 1)
    print("freeze", flush=True)
    sys.stdin.readline()
    published = layer.stats()["published"]

    def send() -> None:
        with suppress(BackendUnavailable, LayerClosed):
            layer.sync.group_send("all", message(0))

    threading.Thread(target=send, daemon=True).start()
    while layer.stats()["published"] == published:
        time.sleep(0.001)  # until that thread has come so far


def ends_with_sends_under_way(layer: BaseChannelLayer) -> None:
    """The main thread ends; one send of a daemon thread is in flight, and two wait for it."""
    talk_in_sync(layer, 1)
    print("freeze", flush=True)
    sys.stdin.readline()
    for number in range(3):
        arguments = (f"group.{number}", message(number))
        threading.Thread(target=layer.sync.group_send, args=arguments, daemon=True).start()
    (session,) = layer._sessions.live
    while len(session.outbox._waiting) < 2:
        time.sleep(0.001)  # until the threads have come so far
    print("ending", flush=True)


def ends_while_it_opens(layer: BaseChannelLayer) -> None:
    """The main thread ends while a daemon thread's send, the first, waits for the connection."""
    print("freeze", flush=True)
    sys.stdin.readline()
    arguments = ("group", message(1))
    threading.Thread(target=layer.sync.group_send, args=arguments, daemon=True).start()
    while not layer._sessions._opening:
        time.sleep(0.001)  # until the thread has come so far
    print("ending", flush=True)


def is_interrupted(layer: BaseChannelLayer) -> None:
    """Ctrl-C ends a call and not the loop."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    name = layer.sync.new_channel()
    main = threading.main_thread().ident
    assert main is not None
    for n in range(5):
        ready = threading.Event()

        def interrupt(ready: threading.Event = ready) -> None:
            ready.wait(PATIENCE)
            layer.sync.send("some!channel", message(0))  # meanwhile the main thread waits
            signal.pthread_kill(main, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            ready.set()
            layer.sync.receive(name)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("was not interrupted")
        thread.join()
        layer.sync.send(name, message(n))
        assert layer.sync.receive(name, timeout=PATIENCE)["n"] == n
    assert pending() == []
