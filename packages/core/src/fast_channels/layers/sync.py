"""A layer for code without an event loop: Celery tasks, Flask views, scripts.

All layers of a process share one background loop, in a daemon thread that the first call starts. A
call is one hop to that thread and back, and concurrent ones share the batches of the outbox. At the
end of the interpreter the loop closes its sessions. A forked child starts a loop of its own.
"""

import asyncio
import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from fast_channels.exceptions import LayerClosed
from fast_channels.layers.forks import abandon
from fast_channels.layers.protocol import ChannelLayer
from fast_channels.type_defs import ChannelMessage

if TYPE_CHECKING:
    from fast_channels.layers.base import BaseChannelLayer

T = TypeVar("T")

LAST_SECONDS: Final = 1.0
"""A daemon thread whose call is cut off learns that so much later. The process has ended by then,
and has printed no traceback of that thread."""


class SyncLayer:
    """``layer.sync``: the layer's coroutine methods as functions that block their thread.

    They return and raise what the coroutine methods do, from any thread without a running event
    loop; where one runs they raise ``RuntimeError``, for they would stop it.
    """

    __slots__ = ("_layer", "_patience")

    def __init__(self, layer: ChannelLayer, patience: float) -> None:
        self._layer = cast("BaseChannelLayer", layer)  # what it has not got is an AttributeError
        self._patience = patience
        """Seconds that calls under way may take when the interpreter ends."""

    def __repr__(self) -> str:
        return f"<sync {self._layer!r}>"

    def send(self, channel: str, message: ChannelMessage) -> None:
        """The broker has the message for the channel."""
        self._run(_Call(self._layer.send, channel, message))

    def receive(self, channel: str, *, timeout: float | None = None) -> dict[str, Any]:
        """Wait for the next message of a worker queue, or of a channel that was made here.

        Raises ``TimeoutError`` when none came within ``timeout`` seconds; no message is lost then.
        """
        call = _Call(self._layer.receive, channel)
        call.timeout = timeout
        call.endless = True
        return self._run(call)

    def new_channel(self, prefix: str = "specific.") -> str:
        """Return the name of a fresh channel, which ``receive`` of this object can read."""
        return self._run(_Call(self._layer.new_channel, prefix))

    def group_add(
        self,
        group: str,
        channel: str,
        *,
        since: str | None = None,
        presence: Mapping[str, Any] | None = None,
        watch: bool = False,
    ) -> None:
        """The channel is a member: a ``group_send`` that starts from now on reaches it."""
        options = _given(since=since, presence=presence, watch=watch or None)
        self._run(_Call(self._layer.group_add, group, channel, **options))

    def group_discard(self, group: str, channel: str) -> None:
        """The channel is no member any more; no error if it was none."""
        self._run(_Call(self._layer.group_discard, group, channel))

    def group_send(
        self,
        group: str,
        message: ChannelMessage,
        *,
        exclude: str | None = None,
        id: str | None = None,
    ) -> None:
        """The broker has the message for all members, but for the channel ``exclude``."""
        options = _given(exclude=exclude, id=id)
        self._run(_Call(self._layer.group_send, group, message, **options))

    def group_history(self, group: str, *, since: str | None = None, limit: int = 100) -> list[Any]:
        """Return messages of a durable group, oldest first."""
        return self._run(_Call(self._layer.group_history, group, since=since, limit=limit))

    def group_position(self, group: str) -> str:
        """Return the end of a durable group: what is sent from now on comes after it."""
        return self._run(_Call(self._layer.group_position, group))

    def presence(self, group: str) -> dict[str, dict[str, Any]]:
        """Return who is present in the group, by channel."""
        return self._run(_Call(self._layer.presence, group))

    def group_channels(self, group: str) -> list[str]:
        """Return the channels that are present in the group at this moment."""
        return self._run(_Call(self._layer.group_channels, group))

    def group_count(self, group: str) -> int:
        """Return how many channels are present in the group at this moment."""
        return self._run(_Call(self._layer.group_count, group))

    def flush(self) -> None:
        """Messages and memberships of the background loop's session are gone, and all queues."""
        self._run(_Call(self._layer.flush))

    def open(self) -> None:
        """Connected; raises ``BackendUnavailable`` if that fails."""
        self._run(_Call(self._layer.open))

    def close(self) -> None:
        """The whole layer is closed, as by ``await layer.close()``: in every running loop."""
        self._run(_Call(self._layer.close))

    def _run(self, call: "_Call[T]") -> T:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return _background().run(call, self._patience)
        name = call.method.__name__
        raise RuntimeError(
            f"layer.sync.{name}() would block the event loop that runs in this thread; "
            f"use: await layer.{name}(...)"
        )


def _given(**options: Any) -> dict[str, Any]:
    """Return the options that have a value: a layer of the upstream kind does not take them."""
    return {name: value for name, value in options.items() if value is not None}


class _Call(Generic[T]):
    """One call of a coroutine method, and the thread that waits for it."""

    __slots__ = (
        "args",
        "context",
        "done",
        "dropped",
        "endless",
        "error",
        "kwargs",
        "method",
        "result",
        "task",
        "timeout",
    )

    def __init__(
        self, method: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any
    ) -> None:
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.timeout: float | None = None
        self.endless = False
        """It may wait for ever: the end of the process does not wait for it."""
        self.context = copy_context()
        self.task: asyncio.Task[None] | None = None
        self.dropped = False
        self.result: T
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def cut_off(self) -> None:
        """The thread that waits gets ``LayerClosed``."""
        self.error = _ending()
        self.done.release()

    def drop(self) -> None:
        """No thread waits any more: it is not started, or cancelled."""
        self.dropped = True
        if self.task is not None:
            self.task.cancel()


def _ending() -> LayerClosed:
    return LayerClosed("the process is ending; a message was perhaps not sent")


class _Background:
    """The background loop and its thread.

    The loop goes on whatever happens to a call, or to the thread that waits for it.
    """

    def __init__(self) -> None:
        self._calls: deque[_Call[Any]] = deque()
        self._woken = False
        """The loop is going to look for calls."""
        self._running: set[_Call[Any]] = set()
        self._ended = False
        self._stop = asyncio.Event()
        self._patience = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="fast-channels-sync", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._loop.close()
            raise

    def run(self, call: _Call[T], patience: float) -> T:
        """Return what the call returns, or raise what it raises."""
        if patience > self._patience:
            self._patience = patience
        self._calls.append(call)
        if self._ended:  # otherwise what was appended is still looked at
            call.error = _ending()
        else:
            self._wait(call)
        error = call.error
        if error is None:
            return call.result
        if isinstance(error, LayerClosed) and self._ended and threading.current_thread().daemon:
            time.sleep(LAST_SECONDS)
        try:
            raise error
        finally:
            call.error = error = None  # its traceback leads back to here: no circle

    def stop(self) -> None:
        """Sessions are closed and the thread has ended, or the patience of the calls has."""
        self._soon(self._stop.set)
        self._thread.join(self._patience)
        self._patience = 0  # a second time there is nothing more to wait for

    def _wait(self, call: _Call[Any]) -> None:
        try:
            if not self._woken:
                self._wake()
            call.done.acquire()
        except BaseException:  # KeyboardInterrupt
            self._soon(lambda: self._drop(call))
            raise

    def _wake(self) -> None:
        try:
            self._woken = True
            self._soon(self._start)
        except BaseException:  # KeyboardInterrupt: perhaps too early
            self._woken = False
            raise

    def _soon(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            pass  # the loop is closed, and every call was told

    # --- in the thread ------------------------------------------------------------------------

    def _live(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._main())
        finally:
            self._ended = True
            if not self._stop.is_set():
                _forget(self)  # something ended it that had no right to
            for call in self._running:
                call.cut_off()
            while self._calls:
                self._calls.popleft().cut_off()

    async def _main(self) -> None:
        await self._stop.wait()
        self._ended = True
        running = [call for call in self._running if call.task is not None]
        for call in running:
            if call.endless:
                call.drop()
        tasks = [call.task for call in running if call.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=self._patience)
        # Sessions end with it, and send what they have, while the backends' tasks still run.
        await self._loop.shutdown_asyncgens()

    def _start(self) -> None:
        self._woken = False
        while self._calls and not self._ended:
            call = self._calls.popleft()
            if not call.dropped:
                self._running.add(call)
                call.task = self._loop.create_task(self._serve(call), context=call.context)

    def _drop(self, call: _Call[Any]) -> None:
        call.drop()
        self._running.discard(call)  # cancelled before its first step it would not do so itself

    async def _serve(self, call: _Call[Any]) -> None:
        try:
            if call.timeout is None:
                call.result = await call.method(*call.args, **call.kwargs)
            else:
                async with asyncio.timeout(call.timeout):
                    call.result = await call.method(*call.args, **call.kwargs)
        except asyncio.CancelledError:
            call.cut_off()
        except BaseException as error:
            call.error = error
            call.done.release()
        else:
            call.done.release()
        finally:
            self._running.discard(call)


_guard = threading.Lock()
_current: _Background | None = None


def _background() -> _Background:
    return _current or _start_background()


def _start_background() -> _Background:
    global _current
    with _guard:
        if _current is None:
            _current = _Background()
            # A child of multiprocessing ends without running what is registered with atexit.
            process: Any = sys.modules.get("multiprocessing.process")
            if process is not None and process.parent_process() is not None:
                util: Any = sys.modules["multiprocessing.util"]
                util.Finalize(None, _end, exitpriority=0)
        return _current


def _forget(background: _Background) -> None:
    """The next call starts another."""
    global _current
    with _guard:
        if _current is background:
            _current = None


def _end() -> None:
    """The process ends."""
    if _current is not None:
        _current.stop()


def _in_child() -> None:
    global _current, _guard
    abandon(_current)
    _current = None
    _guard = threading.Lock()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
