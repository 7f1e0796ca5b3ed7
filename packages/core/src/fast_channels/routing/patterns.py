"""The routes of a ``URLRouter``: what their paths look like, in the syntax of Django's."""

import re
from collections.abc import Mapping
from typing import Any, Final, Protocol, cast
from uuid import UUID

from fast_channels.type_defs import ChannelApplication
from fast_channels.utils import require_application

Matched = tuple[str, tuple[Any, ...], dict[str, Any]]
"""What is left of a path after a pattern, and the pattern's values: positional, and by name."""


class Converter(Protocol):
    """Reads one ``<name:parameter>`` of a ``path``, as in Django."""

    regex: str
    """What the parameter may look like; without groups of its own."""

    def to_python(self, value: str, /) -> Any:
        """Return the parameter's value; ``ValueError``: the route does not match."""
        ...


class _Converter:
    def __init__(self, regex: str, to_python: Any = str) -> None:
        self.regex = regex
        self.to_python = to_python


_converters: Final[dict[str, Converter]] = {
    "str": _Converter(r"[^/]+"),
    "int": _Converter(r"[0-9]+", int),
    "slug": _Converter(r"[-a-zA-Z0-9_]+"),
    "uuid": _Converter("-".join(rf"[0-9a-f]{{{n}}}" for n in (8, 4, 4, 4, 12)), UUID),
    "path": _Converter(r".+"),
}
_PARAMETER: Final = re.compile(r"<(?:([^>:]+):)?([^>]+)>")
_LEADING_SLASH: Final = re.compile(r"\^?/(?![?*{])")


def register_converter(converter: type[Converter], type_name: str) -> None:
    """Routes that are made from now on may say ``<type_name:parameter>``."""
    if type_name in _converters:
        raise ValueError(f"a converter is registered as {type_name!r} already; choose another name")
    made = converter()
    re.compile(made.regex)
    _converters[type_name] = made


class Pattern:
    """What a route's paths look like; ``str()`` is the text that it was made from."""

    def __init__(self, text: str, *, is_regex: bool, is_endpoint: bool = True) -> None:
        if not isinstance(cast("object", text), str):
            raise TypeError(f"a route begins with its path, a str, got {text!r}")
        if _LEADING_SLASH.match(text):
            raise ValueError(
                f"route {text!r} never matches: a path is looked up without the slash that it "
                "begins with; leave out the route's"
            )
        self._text = text
        self.is_regex = is_regex
        self._converters: dict[str, Converter] = {}
        regex = text if is_regex else self._translated() + (r"\Z" if is_endpoint else "")
        try:
            compiled = re.compile(regex)
        except re.error as error:
            raise ValueError(f"route {text!r} is no regular expression: {error}") from error
        # "$" alone would let a line break through.
        whole = is_regex and is_endpoint and text.endswith("$")
        self._find = compiled.fullmatch if whole else compiled.search

    def prefix(self) -> "Pattern":
        """Return the pattern that matches what begins so."""
        return Pattern(self._text, is_regex=self.is_regex, is_endpoint=False)

    def match(self, path: str) -> Matched | None:
        """Return what the path holds, or None if it looks otherwise."""
        found = self._find(path)
        if found is None:
            return None
        named = {name: text for name, text in found.groupdict().items() if text is not None}
        try:
            kwargs = {name: self._converted(name, text) for name, text in named.items()}
        except ValueError:
            return None
        args = () if found.re.groupindex or not self.is_regex else found.groups()
        return path[found.end() :], args, kwargs

    def __str__(self) -> str:
        return self._text

    def _converted(self, name: str, text: str) -> Any:
        return text if self.is_regex else self._converters[name].to_python(text)

    def _translated(self) -> str:
        """Return the regular expression for ``"chat/<str:room>/"``."""
        if "{" in self._text:
            raise ValueError(f"route {self._text!r} has a '{{': a parameter is written <room>")
        parts, end = ["^"], 0
        for found in _PARAMETER.finditer(self._text):
            kind, name = found[1] or "str", found[2]
            if not name.isidentifier() or name in self._converters:
                raise ValueError(
                    f"route {self._text!r} has the parameter {name!r}, "
                    f"which is {'there twice' if name.isidentifier() else 'no Python identifier'}"
                )
            if kind not in _converters:
                raise ValueError(
                    f"route {self._text!r} has the unknown converter {kind!r}; "
                    f"there are: {', '.join(_converters)}"
                )
            self._converters[name] = _converters[kind]
            regex = _converters[kind].regex
            parts += re.escape(self._text[end : found.start()]), f"(?P<{name}>{regex})"
            end = found.end()
        return "".join(parts) + re.escape(self._text[end:])


class Route:
    """One entry of a ``URLRouter``, with the attributes of Django's ``URLPattern``."""

    def __init__(
        self,
        pattern: Any,
        callback: ChannelApplication,
        default_args: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        require_application(callback)
        self.pattern = pattern
        self.callback = callback
        self.default_args = dict(default_args or {})
        self.name = name

    def __repr__(self) -> str:
        return f"<Route {str(self.pattern)!r}>"


def path(
    route: str,
    application: ChannelApplication,
    kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Route:
    """Return a route for paths like ``"chat/<str:room>/"``.

    Converters: ``str`` (the default), ``int``, ``slug``, ``uuid``, ``path``, and those that were
    registered. ``kwargs`` are added to the path's values. Raises ``ValueError`` for a bad route.
    """
    return Route(Pattern(route, is_regex=False), application, kwargs, name)


def re_path(
    route: str,
    application: ChannelApplication,
    kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Route:
    r"""Return a route for paths in which the regular expression is found: ``r"^room/(\d+)/$"``.

    Where it has named groups, the others give no values.
    """
    return Route(Pattern(route, is_regex=True), application, kwargs, name)
