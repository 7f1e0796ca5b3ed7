"""The threads in which the handlers of every ``SyncConsumer`` of this process run.

Law: they keep no process alive. ``ThreadPoolExecutor`` joins its threads when the interpreter
exits, and so a handler that never returns would hold a server that was told to stop.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

VARIABLE: Final = "FAST_CHANNELS_THREADS"
DEFAULT_SIZE: Final = 40

_pool: "ThreadPool | None" = None
_lock = threading.Lock()


class ThreadPool(Executor):
    """Runs jobs in ``size`` daemon threads at most; further jobs wait for their turn."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.threads: list[threading.Thread] = []
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._unfinished = 0
        self._lock = threading.Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Return a future of what ``fn`` returns; a thread is started if none is idle."""
        future: Future[T] = Future()
        with self._lock:
            if len(self.threads) < min(self.size, self._unfinished + 1):
                self._start_thread()
            self._unfinished += 1
        self._jobs.put(partial(self._run, future, partial(fn, *args, **kwargs)))
        return future

    def _start_thread(self) -> None:
        name = f"fast-channels-{len(self.threads) + 1}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more of them
            if not self.threads:
                raise
        else:
            self.threads.append(thread)

    def _work(self) -> None:
        while True:
            self._jobs.get()()

    def _run(self, future: "Future[Any]", call: Callable[[], Any]) -> None:
        result, error = None, None
        wanted = future.set_running_or_notify_cancel()
        try:
            result = call() if wanted else None
        except BaseException as raised:
            error = raised
        with self._lock:
            self._unfinished -= 1  # first: who hears of the result may submit the next job at once
        if error is not None:
            future.set_exception(error)
        elif wanted:
            future.set_result(result)
        del future, error  # the exception's traceback holds this frame, and so the consumer


def thread_pool() -> ThreadPool:
    """Return the pool of this process, made at the first call.

    The environment variable ``FAST_CHANNELS_THREADS`` is its size, 40 by default; ``ValueError`` if
    that is no number above 0.
    """
    global _pool
    pool = _pool
    if pool is None:
        with _lock:
            pool = _pool = _pool or ThreadPool(_size())
    return pool


def _size() -> int:
    text = os.environ.get(VARIABLE, str(DEFAULT_SIZE))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{VARIABLE} must be a number of threads above 0, got {text!r}")
    return int(text)


def _in_child() -> None:
    """Forget the pool: a forked child has none of its threads."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
