"""A clause cannot be replaced quietly.

A suite that passes must mean the same for every backend. A clause that a broker cannot keep is
overridden under ``@pytest.mark.xfail(reason=..., strict=True)``, so the report says which, and why.
What the clauses are built on (fences, topics, processes) cannot be overridden at all.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

MARK: Final = "__fast_channels_clause__"

F = TypeVar("F", bound=Callable[..., Any])


class Sealed:
    """Base class of the suites."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Raise ``TypeError`` for a clause that was replaced without saying so."""
        super().__init_subclass__(**kwargs)
        if problems := broken_seals(cls):
            raise TypeError(problems[0])


def sealed(function: F) -> F:
    """Keep subclasses from replacing the method."""
    setattr(function, MARK, True)
    return function


def broken_seals(cls: type) -> list[str]:
    """Return what is wrong with the class's clauses, and with what they are built on."""
    found = (replaced(cls, name) for name in sorted(clauses(cls)))
    return [problem for problem in found if problem is not None]


def clauses(cls: type) -> set[str]:
    """Return the names of the kit's clauses and sealed methods that the class has or replaced."""
    return {name for base in cls.__mro__ for name, value in vars(base).items() if _is_sealed(value)}


def replaced(cls: type, name: str) -> str | None:
    """Return what is wrong with the class's clause of that name; None: nothing."""
    test = getattr(cls, name, None)
    if _is_sealed(test):
        if next(_marks(test), None) is None:
            return None
        return (
            f"{cls.__name__} marks the kit's own {name}, which every suite shares; define {name} "
            "in your class, mark that, and call super() in it"
        )
    if not name.startswith("test_"):
        return f"{cls.__name__}.{name} replaces what the clauses are built on; name yours otherwise"
    if any(mark.kwargs.get("reason") and mark.kwargs.get("strict") for mark in _marks(test)):
        return None
    return (
        f"{cls.__name__}.{name} replaces a clause of the conformance kit; if your broker cannot "
        'keep it, mark the replacement @pytest.mark.xfail(reason="...", strict=True)'
    )


def _is_sealed(value: object) -> bool:
    return getattr(value, MARK, False) is True


def _marks(test: object) -> Iterator[Any]:
    marks: list[Any] = getattr(test, "pytestmark", [])
    yield from (mark for mark in marks if mark.name == "xfail")
