"""``def`` or ``async def``: a method of a consumer is what the method that it overrides is.

What can be told from a class is told when the class is made. A plain function may return something
to be awaited, so one in the place of an ``async def`` is judged when it is called.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from types import FunctionType
from typing import Any


def check_kinds(consumer: type, framework: list[type]) -> None:
    """Raise ``TypeError`` for an ``async def`` where ``def`` is due; the reverse fails when called.

    Looks at methods that one of the ``framework`` classes has, too.
    """
    for name, ours in _methods(consumer, framework).items():
        given = inspect.getattr_static(consumer, name)
        function = getattr(given, "__func__", given)  # what a classmethod holds
        if not isinstance(function, FunctionType) or function is ours:
            continue
        is_async = inspect.iscoroutinefunction(function)
        if is_async and not inspect.iscoroutinefunction(ours):
            raise TypeError(
                f"{consumer.__name__}.{name} is 'async def', and would never be awaited: it runs "
                f"in a thread; write 'def {name}', or derive from an Async... consumer"
            )
        if not is_async and inspect.iscoroutinefunction(ours) and name in vars(consumer):
            judged = _judged(function, f"{consumer.__name__}.{name}")
            setattr(consumer, name, judged if given is function else type(given)(judged))


def _methods(consumer: type, framework: list[type]) -> dict[str, FunctionType]:
    """Return the public methods of the consumer's base classes that are ours, by name."""
    found: dict[str, FunctionType] = {}
    for base in consumer.__mro__:
        if base is not object and base in framework:
            for name, ours in vars(base).items():
                function = getattr(ours, "__func__", ours)
                if isinstance(function, FunctionType) and not name.startswith("_"):
                    found.setdefault(name, function)
    return found


def _judged(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if not inspect.isawaitable(result):
            raise must_be_async(name, result)
        return result

    return call


def must_be_async(name: str, result: object) -> TypeError:
    """Return the error for a plain method of a consumer that awaits its methods."""
    method = name.rpartition(".")[2]
    return TypeError(
        f"{name} must be 'async def', for it is awaited, and it returned {result!r}; "
        f"write 'async def {method}', or derive from a sync consumer"
    )


async def adapt(consumer: object, handler: Any, message: Mapping[str, Any]) -> None:
    """Await what a handler that is no plain coroutine function returned."""
    if not inspect.isawaitable(handler):
        method = message["type"].replace(".", "_")
        raise must_be_async(f"{type(consumer).__name__}.{method}", handler)
    await handler


def call_plain(handler: Callable[..., Any], *arguments: Any) -> None:
    """Call the handler, in its thread; ``TypeError`` if what it returns was to be awaited."""
    name = getattr(handler, "__qualname__", repr(handler))
    try:
        result = handler(*arguments)
    except StopIteration as error:
        # No future can carry it: whoever waits for it would wait forever (Python 3.11).
        raise RuntimeError(f"{name} raised StopIteration") from error
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(
            f"{name} is 'async def' or returns something to be awaited, but runs in a thread; "
            "write 'def', or derive from an Async... consumer"
        )
