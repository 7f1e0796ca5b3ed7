"""Runs the handlers of a consumer in threads, and what they send in the event loop.

Laws: the next handler begins when the last one's thread has ended and the server has what it sent;
what is sent keeps its order. A thread cannot be cancelled: whoever is, waits for it. Only where it
sends can it be told to stop, by ``asyncio.CancelledError``.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, Final

from asgiref.sync import sync_to_async

from fast_channels.consumer.kinds import call_plain
from fast_channels.consumer.thread_pool import thread_pool

logger = logging.getLogger("fast_channels.consumer")

UNSENT: Final = 16
"""Events that wait for a client that does not read, before a thread waits with them."""


class HandlerThread(Executor):
    """The thread of one consumer's handlers, which is another one each time."""

    def __init__(self, finish_timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._finish_timeout = finish_timeout
        self._job: Future[Any] | None = None
        self._running = False
        self._interrupted = False
        self._left_behind = False
        self._unsent: deque[tuple[Coroutine[Any, Any, None], Future[None]]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        """What a send raised whose thread had gone on."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Start a job in the process's pool, and remember it."""
        self._job = thread_pool().submit(fn, *args, **kwargs)
        return self._job

    async def run(self, handler: Callable[..., Any], *arguments: Any) -> None:
        """The handler has ended, and the server has what it sent; raises what it raised.

        Cancelled, this still waits for the thread: ``finish_timeout`` seconds at most, after which
        the handler is left behind, and no other one begins.
        """
        if self._left_behind:
            return
        executor: Any = self  # asgiref asks for a ThreadPoolExecutor, and only ever calls submit()
        call = sync_to_async(call_plain, thread_sensitive=False, executor=executor)
        task = asyncio.current_task()
        assert task is not None
        cancelled = task.cancelling()
        self._running = True
        try:
            await call(handler, *arguments)
            while self._sender is not None:
                await asyncio.wait([self._sender])
        except asyncio.CancelledError:
            if self._interrupted and task.cancelling() == cancelled:
                return  # it was the handler that could not send any more
            self.interrupt()
            await self._outlast(handler)
            raise
        finally:
            self._running = self._interrupted = False
            failure, self._failure = self._failure, None
        if task.cancelling() > cancelled:
            raise asyncio.CancelledError  # the handler caught what asgiref had passed on to it
        if failure is not None:
            raise failure

    def interrupt(self) -> bool:
        """Whatever the running handler sends raises ``CancelledError``; False if none runs."""
        if self._running:
            self._interrupted = True
            if self._sender is not None:
                self._sender.cancel()
        return self._running

    def send(self, sending: Coroutine[Any, Any, None]) -> None:
        """In a thread: the loop has run the coroutine, in its turn; raises what it raises.

        Where the client does not read, up to ``UNSENT`` coroutines wait without their thread.
        """
        sent: Future[None] = Future()
        try:
            if threading.get_ident() == self._loop_thread:
                raise RuntimeError(
                    "the methods of a SyncConsumer that send wait for the event loop, and were "
                    "called in it; call them in a handler, or in any other thread"
                )
            self._loop.call_soon_threadsafe(self._take, sending, sent)
        except RuntimeError:
            sending.close()
            raise
        sent.result()

    def callable_anywhere(self, send: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Any]:
        """Return ``send`` as threads can call it, too; in the loop it is awaited as before."""

        async def in_loop(message: Any) -> None:
            await send(message)

        def base_send(message: Any) -> Any:
            if threading.get_ident() == self._loop_thread:
                return send(message)
            return self.send(in_loop(message))

        return base_send

    async def close(self) -> None:
        """What was not sent never will be."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait([self._sender])

    # --- in the loop --------------------------------------------------------------------------

    def _take(self, sending: Coroutine[Any, Any, None], sent: "Future[None]") -> None:
        self._unsent.append((sending, sent))
        if self._interrupted:
            self._drop_unsent()
            return
        if self._sender is None:
            self._start_sender()
        # Called after the sender's first step: what needs no waiting is sent by then.
        self._loop.call_soon(self._let_go, sent)

    def _let_go(self, sent: "Future[None]") -> None:
        """The client does not read, for which no thread has to wait."""
        if not sent.done() and len(self._unsent) <= UNSENT:
            sent.set_result(None)

    def _start_sender(self) -> None:
        self._sender = self._loop.create_task(self._send_all())
        self._sender.add_done_callback(self._sender_ended)

    async def _send_all(self) -> None:
        while self._unsent:
            sending, sent = self._unsent[0]
            try:
                await sending
            except Exception as error:
                if sent.done():
                    self._failure = self._failure or error
                else:
                    sent.set_exception(error)
            else:
                if not sent.done():
                    sent.set_result(None)
            self._unsent.popleft()

    def _sender_ended(self, sender: "asyncio.Task[None]") -> None:
        self._sender = None
        if sender.cancelled() or sender.exception() is not None:
            self._drop_unsent()
        elif self._unsent:
            self._start_sender()

    def _drop_unsent(self) -> None:
        while self._unsent:
            sending, sent = self._unsent.popleft()
            sending.close()
            if not sent.done():
                sent.set_exception(asyncio.CancelledError())

    async def _outlast(self, handler: Callable[..., Any]) -> None:
        """Wait for the thread, however often this is cancelled."""
        job = self._job
        assert job is not None
        ended = asyncio.wrap_future(job)
        ended.add_done_callback(_log_failure)
        deadline = self._loop.time() + self._finish_timeout
        while not ended.done():
            left = deadline - self._loop.time()
            if left <= 0:
                self._left_behind = True
                logger.error(
                    "%r still runs %s s after its connection was cancelled; "
                    "it is left behind, and disconnect() is not called",
                    handler,
                    self._finish_timeout,
                )
                return
            try:
                await asyncio.wait([ended], timeout=left)
            except asyncio.CancelledError:
                continue


def _log_failure(ended: "asyncio.Future[Any]") -> None:
    if not ended.cancelled() and isinstance(error := ended.exception(), Exception):
        logger.error("a handler failed after its connection was cancelled", exc_info=error)
