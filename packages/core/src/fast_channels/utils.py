"""Functions that applications built on Channels import, and a check that several modules share."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from inspect import isclass
from typing import Any


def is_same_domain(host: str, pattern: str) -> bool:
    """Whether ``host`` is the domain ``pattern`` or, for a pattern like ``.example.com``, below it.

    Upper and lower case are the same. An empty pattern matches nothing.
    """
    host, pattern = host.lower(), pattern.lower()
    if pattern.startswith("."):
        return host == pattern[1:] or host.endswith(pattern)
    return bool(pattern) and host == pattern


async def await_many_dispatch(
    consumer_callables: Sequence[Callable[[], Awaitable[Any]]],
    dispatch: Callable[[Any], Awaitable[None]],
) -> None:
    """Pass every result of every callable to ``dispatch``, one at a time, until one of them raises.

    Results that are there at the same time are dispatched in the order of the callables. When this
    ends, by an exception or by cancellation, the calls still under way were cancelled and awaited.

    Kept for applications that import it: a task and an ``asyncio.wait`` per message are costly.
    """

    async def call(consumer_callable: Callable[[], Awaitable[Any]]) -> Any:
        return await consumer_callable()

    calls = [asyncio.create_task(call(each)) for each in consumer_callables]
    try:
        while True:
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            for index, task in enumerate(calls):
                if task.done():
                    await dispatch(task.result())
                    calls[index] = asyncio.create_task(call(consumer_callables[index]))
    finally:
        for task in calls:
            task.cancel()
        if calls:
            await asyncio.wait(calls)


def require_application(application: object) -> None:
    """Raise ``TypeError``, saying what to pass instead, unless ``application`` can be one.

    A class may be one (Starlette's endpoints are), except a consumer, whose ``as_asgi()`` is.
    """
    if isclass(application) and hasattr(application, "as_asgi"):
        name = application.__name__
        raise TypeError(f"{name} is a consumer class, not an application; pass {name}.as_asgi()")
    if not callable(application):
        raise TypeError(f"an ASGI application must be callable, and {application!r} is not")
