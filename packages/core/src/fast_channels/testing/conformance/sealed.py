"""A clause cannot be replaced quietly.

A suite that passes must mean the same for every backend. A clause that a broker cannot keep is
overridden under ``@pytest.mark.xfail(reason=...)``, so the report says which, and why.
"""

from collections.abc import Iterator
from typing import Any, Final

MARK: Final = "__fast_channels_clause__"


class Sealed:
    """Base class of the suites."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Raise ``TypeError`` for a clause that was replaced without saying so."""
        super().__init_subclass__(**kwargs)
        for name in sorted(clauses(cls)):
            if (problem := replaced(cls, name)) is not None:
                raise TypeError(problem)


def clauses(cls: type) -> set[str]:
    """Return the names of the kit's clauses that the class has, replaced or not."""
    return {name for base in cls.__mro__ for name, value in vars(base).items() if _is_clause(value)}


def replaced(cls: type, name: str) -> str | None:
    """Return what is wrong with the class's clause of that name; None: nothing."""
    test = getattr(cls, name, None)
    if _is_clause(test) or _reason(test):
        return None
    return (
        f"{cls.__name__}.{name} replaces a clause of the conformance kit; if your broker cannot "
        'keep it, mark the replacement @pytest.mark.xfail(reason="...", strict=True)'
    )


def _is_clause(value: object) -> bool:
    return getattr(value, MARK, False) is True


def _reason(test: object) -> str | None:
    return next((mark.kwargs["reason"] for mark in _marks(test) if mark.kwargs.get("reason")), None)


def _marks(test: object) -> Iterator[Any]:
    yield from (mark for mark in getattr(test, "pytestmark", ()) if mark.name == "xfail")
