"""Runs one connection of an ASGI application inside a test.

Its law: waiting for the application never disturbs it. Only ``wait``, ``stop``, ``disconnect`` and
leaving ``async with`` end it, and no exception that it raises is lost.
"""

import asyncio
from asyncio import FIRST_COMPLETED
from contextlib import suppress
from contextvars import Context
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import unquote, urlsplit

from fast_channels.type_defs import ChannelApplication, ChannelMessage, ChannelScope
from fast_channels.utils import require_application

GRACE = 1.0
"""Seconds that an application gets to end by itself, and then to end when cancelled."""


class ApplicationCommunicator:
    """Sends events to one instance of an application, and reads what it sends.

    The application starts with the first call that needs it, as a task (``future``) with an empty
    ``contextvars`` context, as under a server. What it sent before it failed is read first; then
    every call that waits for it raises its exception, with the application's traceback.

    ``async with`` ends it: it is told that the client has gone, has a second to finish, and is then
    cancelled and awaited. An exception of the application that no call has raised yet is raised
    there, or noted on the one that is already propagating.
    """

    _future: asyncio.Task[None] | None = None
    _goodbye: ClassVar[ChannelMessage | None] = None  # the event that says that the client has gone
    _raised = False

    def __init__(self, application: ChannelApplication, scope: ChannelScope) -> None:
        require_application(application)
        self.application = application
        self.scope = scope
        self.input_queue: asyncio.Queue[Any] = asyncio.Queue()
        self.output_queue: asyncio.Queue[Any] = asyncio.Queue()
        self._receivers: list[asyncio.Future[None]] = []  # each waits for an output

    @property
    def future(self) -> asyncio.Task[None]:
        """The application's task; reading it starts the application."""
        if self._future is None:
            # The task refers to no self: a forgotten communicator is collected when its test ends,
            # and its application cancelled.
            application, scope, inputs = self.application, self.scope, self.input_queue
            outputs, receivers = self.output_queue, self._receivers

            async def send(message: ChannelMessage) -> None:
                await outputs.put(message)
                while receivers:
                    receivers.pop().set_result(None)

            async def serve() -> None:
                await application(scope, inputs.get, send)

            self._future = asyncio.get_running_loop().create_task(serve(), context=Context())
        return self._future

    async def send_input(self, message: Any) -> None:
        """Hand one event to the application; raises what the application failed with, if it has."""
        self._raise_failure()
        await self.input_queue.put(message)

    async def receive_output(self, timeout: float = 1) -> Any:
        """The next event that the application sends.

        Raises ``TimeoutError`` when none came in ``timeout`` seconds, or at once when none can come
        because the application has ended; it is not disturbed, and the next call may succeed.
        """
        if await self._has_output(timeout):
            return self.output_queue.get_nowait()
        self._raise_failure()
        if self.future.done():
            raise TimeoutError("the application has ended, and has sent nothing more")
        raise TimeoutError(f"the application sent nothing for {timeout} s")

    async def receive_nothing(self, timeout: float = 0.1, interval: float = 0.01) -> bool:
        """Whether nothing is there to read, and nothing comes for ``timeout`` seconds.

        ``interval`` changes nothing: an event is noticed when it comes, not by polling.
        """
        if await self._has_output(timeout):
            return False
        self._raise_failure()
        return True

    async def wait(self, timeout: float = 1) -> None:
        """Returns when the application has ended.

        After ``timeout`` seconds it is cancelled, and ``TimeoutError`` raised.
        """
        late = not await self._ends(timeout)
        await self._cancel()
        self._raise_failure()
        if late:
            raise TimeoutError(f"the application had not ended after {timeout} s; it was cancelled")

    def stop(self, exceptions: bool = True) -> None:
        """Cancel the application if it runs; raise what it failed with unless told not to."""
        if self._future is not None and not self._future.cancel() and exceptions:
            self._raise_failure()

    def __del__(self) -> None:
        with suppress(RuntimeError):  # its event loop was closed, which has ended the application
            self.stop(exceptions=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._future is None:
            return
        if self._goodbye is not None and exc_value is None:
            await self.input_queue.put(self._goodbye)
            await self._ends(GRACE)
        await self._cancel()
        if exc_value is None and not self._raised:
            self._raise_failure()
        elif exc_value is not None and not self._raised and (failure := self._failure()):
            exc_value.add_note(f"the application under test had failed with {failure!r}")

    async def _has_output(self, timeout: float) -> bool:
        """Wait until there is output to read (True), the application ended, or time is over."""
        while self.output_queue.empty() and not self.future.done():
            receiver = asyncio.get_running_loop().create_future()
            self._receivers.append(receiver)
            either = {receiver, self.future}
            done, _ = await asyncio.wait(either, timeout=timeout, return_when=FIRST_COMPLETED)
            if not done:
                break
        return not self.output_queue.empty()

    async def _read_response(self, start: ChannelMessage, timeout: float) -> dict[str, Any]:
        """The HTTP response (or WebSocket denial) that begins with ``start``, read to its end."""
        part = start["type"].removesuffix("start") + "body"
        body, more_body = b"", True
        while more_body:
            message = await self.receive_output(timeout)
            if message["type"] != part:
                raise unexpected(part, message)
            body += message.get("body", b"")
            more_body = message.get("more_body", False)
        self._raise_failure()
        return {"status": start["status"], "headers": start.get("headers", []), "body": body}

    async def _ends(self, timeout: float) -> bool:
        await asyncio.wait({self.future}, timeout=timeout)
        return self.future.done()

    async def _cancel(self) -> None:
        if self.future.cancel() and not await self._ends(GRACE):
            raise RuntimeError(f"the application still runs {GRACE} s after it was cancelled")

    def _failure(self) -> BaseException | None:
        ended = self.future.done() and not self.future.cancelled()
        return self.future.exception() if ended else None

    def _raise_failure(self) -> None:
        if self._failure() is not None:
            self._raised = True
            self.future.result()


def target(path: str) -> dict[str, Any]:
    """What a request's path, with or without a query string, says in a scope."""
    parts = urlsplit(f"http://localhost{path}" if path.startswith("/") else path)
    return {
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
    }


def unexpected(expected: str, message: ChannelMessage) -> AssertionError:
    """An error that names what a test waited for and what the application sent instead."""
    return AssertionError(f"expected {expected}, but the application sent {dict(message)}")
