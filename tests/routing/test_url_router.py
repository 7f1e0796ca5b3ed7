"""URLRouter: which application a path leads to, and what it finds in its scope."""

from typing import Any
from uuid import UUID

import pytest

from fast_channels import AsyncWebsocketConsumer
from fast_channels.exceptions import RouteNotFound
from fast_channels.middleware import BaseMiddleware, OriginValidator
from fast_channels.routing import Route, URLRouter, path, re_path, register_converter
from fast_channels.testing import WebsocketCommunicator

from .apps import Answer, get

UUID_TEXT = "01234567-89ab-cdef-0123-456789abcdef"


class Chat(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept(subprotocol=self.scope["path_params"]["room"])


async def test_the_first_route_that_matches_gets_the_connection() -> None:
    router = URLRouter(
        [path("", Answer("root")), path("chat/", Answer("chat")), re_path(r"^c", Answer("regex"))]
    )
    assert await get(router, "/") == "root"
    assert await get(router, "/chat/") == "chat"
    assert await get(router, "/chat/more") == "regex"


async def test_a_consumer_finds_the_values_under_both_keys() -> None:
    router = URLRouter([path("chat/<str:room>/", Chat.as_asgi())])
    async with WebsocketCommunicator(router, "/chat/lobby/?x=1") as socket:
        assert await socket.connect() == (True, "lobby")
    app = Answer()
    await get(URLRouter([path("chat/<room>/", app, {"kind": "open"})]), "/chat/lobby/")
    assert app.scope["url_route"] == {"args": (), "kwargs": {"room": "lobby", "kind": "open"}}
    assert app.scope["path_params"] == {"room": "lobby", "kind": "open"}
    assert app.scope["path_remaining"] == ""
    assert app.scope["path"] == "/chat/lobby/"


@pytest.mark.parametrize(
    ("route", "text", "value"),
    [
        ("<v>", "ann", "ann"),
        ("<str:v>", "a b\n", "a b\n"),
        ("<int:v>", "007", 7),
        ("<slug:v>", "a-b_C9", "a-b_C9"),
        ("<uuid:v>", UUID_TEXT, UUID(UUID_TEXT)),
        ("<path:v>", "a/b/c", "a/b/c"),
    ],
)
async def test_a_converter_reads_what_its_name_says(route: str, text: str, value: object) -> None:
    app = Answer()
    await get(URLRouter([path(f"x/{route}/end", app)]), f"/x/{text}/end")
    assert app.scope["path_params"] == {"v": value}


@pytest.mark.parametrize(
    ("route", "text"),
    [
        ("<str:v>", "a/b"),
        ("<int:v>", "-1"),
        ("<int:v>", "9" * 5_000),  # more digits than int() takes
        ("<slug:v>", "a.b"),
        ("<uuid:v>", UUID_TEXT.upper()),
        ("<path:v>", ""),
        ("a.c", "abc"),
        ("a", "a\n"),
    ],
)
async def test_what_a_converter_does_not_read_is_no_match(route: str, text: str) -> None:
    with pytest.raises(RouteNotFound):
        await get(URLRouter([path(route, Answer())]), f"/{text}")


async def test_a_converter_of_ones_own_has_a_name_from_its_registration_on() -> None:
    class Year:
        regex = "[0-9]{4}"

        def to_python(self, value: str) -> int:
            if value < "1900":
                raise ValueError("long ago")
            return int(value)

    with pytest.raises(ValueError, match=r"unknown converter 'test_year'; there are: str, int,"):
        path("<test_year:y>/", Answer())
    register_converter(Year, "test_year")
    app = Answer()
    router = URLRouter([path("<test_year:y>/", app)])
    await get(router, "/1999/")
    assert app.scope["path_params"] == {"y": 1999}
    with pytest.raises(RouteNotFound):
        await get(router, "/1899/")
    with pytest.raises(ValueError, match="registered as 'test_year' already"):
        register_converter(Year, "test_year")


async def test_a_regex_gives_its_groups_by_name_or_else_by_position() -> None:
    app = Answer()
    await get(URLRouter([re_path(r"^(\d+)/(\w+)/$", app)]), "/1/a/")
    assert app.scope["url_route"] == {"args": ("1", "a"), "kwargs": {}}
    await get(URLRouter([re_path(r"^(\d+)/(?P<room>\w+)/(?P<more>x)?$", app)]), "/1/a/")
    assert app.scope["url_route"] == {"args": (), "kwargs": {"room": "a"}}
    assert app.scope["path_params"] == {"room": "a"}


async def test_a_regex_without_dollar_matches_the_beginning_and_with_it_no_line_break() -> None:
    app = Answer("x")
    assert await get(URLRouter([re_path(r"^chat/", app)]), "/chat/lobby") == "x"
    assert app.scope["path_remaining"] == "lobby"
    with pytest.raises(RouteNotFound):
        await get(URLRouter([re_path(r"^chat/$", app)]), "/chat/\n")


async def test_no_route_is_a_value_error_that_names_the_path_and_the_routes() -> None:
    router = URLRouter(
        [path("chat/<room>/", Answer()), path("in/", URLRouter([path("side/", Answer())]))]
    )
    with pytest.raises(ValueError, match="no route found") as caught:
        await get(router, "/in/x")
    assert isinstance(caught.value, RouteNotFound)
    assert str(caught.value) == (
        "no route found for path '/in/x'; routes tried: 'chat/<room>/', 'in/side/'"
    )
    assert (caught.value.name, caught.value.routes) == ("/in/x", ["chat/<room>/", "in/side/"])


async def test_a_forgotten_slash_is_guessed_and_a_long_error_is_cut() -> None:
    routes = [path(f"room{n}/", Answer()) for n in range(30)]
    with pytest.raises(RouteNotFound, match=r"'room19/' and 10 more; did you mean 'room7/'\?$"):
        await get(URLRouter(routes), "/room7")
    with pytest.raises(RouteNotFound) as caught:
        await get(URLRouter(routes), "/" + "x" * 10_000)
    assert len(str(caught.value)) < 600
    with pytest.raises(RouteNotFound, match="routes tried: none"):
        await get(URLRouter([]), "/")


# --- nested -----------------------------------------------------------------------------------


async def test_nested_routers_merge_their_values() -> None:
    app = Answer("deep")
    inner = URLRouter([re_path(r"^(\d+)/", URLRouter([path("<int:seat>/", app)]))])
    router = URLRouter([path("<str:house>/", inner, {"open": True})])
    assert await get(router, "/opera/12/7/") == "deep"
    kwargs = {"house": "opera", "open": True, "seat": 7}
    assert app.scope["url_route"] == {"args": ("12",), "kwargs": kwargs}
    assert app.scope["path_params"] == kwargs
    assert app.scope["path"] == "/opera/12/7/"


async def test_a_router_is_found_inside_middleware() -> None:
    inner = URLRouter([path("x/", Answer("x"))])
    wrapped = BaseMiddleware(OriginValidator(inner, ["*"]))
    router = URLRouter([path("in/", wrapped), path("in/y/", Answer("y"))])
    assert await get(router, "/in/x/") == "x"
    assert await get(router, "/in/y/") == "y"


async def test_the_routes_after_a_router_without_a_route_are_tried() -> None:
    router = URLRouter(
        [
            path("", URLRouter([path("a/", Answer("a"))])),
            path("", URLRouter([path("b/", Answer("b"))])),
            path("a/b/", Answer("c")),
        ]
    )
    assert [await get(router, each) for each in ("/a/", "/b/", "/a/b/")] == ["a", "b", "c"]


async def test_a_slash_between_two_routers_may_be_in_either_or_in_neither() -> None:
    for outer in ("in", "in/"):
        router = URLRouter([path(outer, URLRouter([path("x/", Answer("x"))]))])
        assert await get(router, "/in/x/") == "x"


async def test_what_an_application_raises_is_not_taken_for_a_missing_route() -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise RouteNotFound("path", "/elsewhere", [])

    nested = URLRouter([path("x/", fails)])
    router = URLRouter([path("in/", nested), re_path("", Answer("wrong"))])
    with pytest.raises(RouteNotFound, match="'/elsewhere'"):
        await get(router, "/in/x/")


async def test_the_caller_s_scope_stays_as_it_was() -> None:
    scope = {"type": "websocket", "path": "/in/x/", "path_params": {"tenant": "t"}}
    app = Answer()
    inner = URLRouter([path("<name>/", app)])
    await URLRouter([path("in/", inner)])(scope, None, None)  # type: ignore[arg-type]
    assert scope == {"type": "websocket", "path": "/in/x/", "path_params": {"tenant": "t"}}
    assert app.scope["path_params"] == {"tenant": "t", "name": "x"}


# --- root_path --------------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["/app", "/app/"])
async def test_routes_begin_below_the_root_path(root: str) -> None:
    router = URLRouter(
        [path("", Answer("root")), path("in/", URLRouter([path("x/", Answer("x"))]))]
    )
    assert await get(router, "/app/in/x/", root_path=root) == "x"
    assert await get(router, "/app", root_path=root) == "root"
    for elsewhere in ("/in/x/", "/apple/in/x/"):
        with pytest.raises(RouteNotFound, match=r"routes tried: '/app/\.\.\.'"):
            await get(router, elsewhere, root_path=root)


async def test_a_scope_without_a_path_is_an_error() -> None:
    with pytest.raises(ValueError, match="a scope of type 'channel' has no 'path' to look up"):
        await URLRouter([])({"type": "channel"}, None, None)  # type: ignore[arg-type]


# --- mistakes, found when the router is made ---------------------------------------------------


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        ("/chat/", "never matches: a path is looked up without the slash that it begins with"),
        ("chat/{room}/", "a parameter is written <room>"),
        ("<str: room>", "the parameter ' room', which is no Python identifier"),
        ("<1>", "the parameter '1', which is no Python identifier"),
        ("<a>/<int:a>", "the parameter 'a', which is there twice"),
        ("<strr:a>", "the unknown converter 'strr'"),
    ],
)
def test_a_bad_path_is_refused(route: str, reason: str) -> None:
    with pytest.raises(ValueError, match="route ") as caught:
        path(route, Answer())
    assert reason in str(caught.value)


def test_a_bad_regex_is_refused() -> None:
    for slash in ("/chat/", "^/chat/"):
        with pytest.raises(ValueError, match="never matches"):
            re_path(slash, Answer())
    re_path(r"^/?chat/", Answer())
    with pytest.raises(ValueError, match=r"route '\(' is no regular expression: missing \)"):
        re_path("(", Answer())
    with pytest.raises(TypeError, match="begins with its path, a str, got None"):
        path(None, Answer())  # type: ignore[arg-type]


def test_a_consumer_class_is_refused_and_what_to_pass_is_said() -> None:
    for make in (path, re_path):
        with pytest.raises(TypeError, match=r"pass Chat\.as_asgi\(\)"):
            make("chat/", Chat)
        with pytest.raises(TypeError, match="must be callable, and 'chat' is not"):
            make("chat/", "chat")  # type: ignore[arg-type]


@pytest.mark.parametrize("routes", [None, path("a", Answer()), {"a": Answer()}, "a", Answer()])
def test_what_is_no_list_of_routes_is_refused(routes: Any) -> None:
    with pytest.raises(TypeError, match=r"routes must be a list of path\(\) and re_path\(\), got"):
        URLRouter(routes)


@pytest.mark.parametrize("entry", [Answer(), Chat, ("chat/", Answer()), None])
def test_an_entry_that_is_no_route_is_refused(entry: Any) -> None:
    with pytest.raises(TypeError, match=r"is no route; write path\('chat/<str:room>/'"):
        URLRouter([entry])


def test_a_route_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="route 'a/' is there twice; the second is never reached"):
        URLRouter([path("a/", Answer()), path("a/", Answer())])
    URLRouter([path("a/", Answer()), re_path("a/", Answer())])  # the second matches more


def test_a_route_shows_its_pattern_and_name() -> None:
    route = path("a/", Answer(), name="here")
    assert (repr(route), route.name) == ("<Route 'a/'>", "here")
    assert isinstance(route, Route)
