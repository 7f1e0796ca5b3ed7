"""Who may look: nobody, unless the application says so about this very connection."""

from typing import Any

import pytest

from fast_channels.layers import ChannelLayerRegistry
from fast_channels.testing import HttpCommunicator, WebsocketCommunicator
from fast_channels_tools.inspector import inspector
from fast_channels_tools.inspector.pages import FILES

PLACES = ["/", "/inspector.js", "/nowhere", "/feed", "/tail/default"]


def yes(scope: Any) -> bool:
    return True


def no(scope: Any) -> bool:
    return False


async def async_yes(scope: Any) -> bool:
    return True


async def async_no(scope: Any) -> bool:
    return False


def broken(scope: Any) -> bool:
    raise LookupError("no session")


async def async_broken(scope: Any) -> bool:
    raise LookupError("no session")


def forgotten_call(scope: Any) -> Any:
    return yes


def user(scope: Any) -> Any:
    return {"name": "anonymous"}


async def none(scope: Any) -> Any:
    return None


async def get(app: Any, path: str = "/", method: str = "GET") -> dict[str, Any]:
    async with HttpCommunicator(app, method, path) as client:
        return await client.get_response(5)


async def socket(app: Any, path: str = "/feed", **headers: str) -> bool:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    async with WebsocketCommunicator(app, path, headers=pairs) as client:
        connected, _ = await client.connect(5)
        return connected


@pytest.mark.parametrize("arguments", [{}, {"authorize": None}, {"authorize": True}])
def test_it_cannot_be_made_without_saying_who_may_look(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="authorize"):
        inspector(**arguments)


def test_it_cannot_be_made_with_a_positional_argument() -> None:
    with pytest.raises(TypeError, match="positional"):
        inspector(yes)  # type: ignore[call-arg,misc]  # that is the test


@pytest.mark.parametrize("authorize", [no, async_no, broken, async_broken])
@pytest.mark.parametrize("path", PLACES)
async def test_who_may_not_look_gets_403_everywhere(
    authorize: Any, path: str, layers: ChannelLayerRegistry
) -> None:
    app = inspector(authorize=authorize)
    for method in ("GET", "HEAD", "POST"):
        response = await get(app, path, method)
        assert response["status"] == 403
        assert b"default" not in response["body"]
    assert not await socket(app, path)


@pytest.mark.parametrize("authorize", [forgotten_call, user, none])
async def test_what_is_neither_true_nor_false_refuses_and_is_logged(
    authorize: Any, layers: ChannelLayerRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    app = inspector(authorize=authorize)
    assert (await get(app))["status"] == 403
    assert not await socket(app)
    assert "not True or False" in caplog.text


async def test_an_exception_of_authorize_is_logged(
    layers: ChannelLayerRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await get(inspector(authorize=broken)))["status"] == 403
    assert "no session" in caplog.text


@pytest.mark.parametrize("authorize", [yes, async_yes])
async def test_who_may_look_gets_the_page_its_files_and_the_feed(
    authorize: Any, layers: ChannelLayerRegistry
) -> None:
    app = inspector(authorize=authorize)
    for path in ["", *FILES]:
        response = await get(app, f"/{path}")
        assert response["status"] == 200
        assert response["body"]
    assert await socket(app)
    assert await socket(app, "/tail/default")


async def test_authorize_sees_the_scope_of_each_request_and_socket(
    layers: ChannelLayerRegistry,
) -> None:
    seen: list[tuple[str, str]] = []

    def authorize(scope: Any) -> bool:
        seen.append((scope["type"], scope["path"]))
        return (b"x-key", b"1") in scope["headers"]

    app = inspector(authorize=authorize)
    assert (await get(app, "/inspector.css"))["status"] == 403
    assert await socket(app, **{"x-key": "1"})
    assert seen == [("http", "/inspector.css"), ("websocket", "/feed")]


async def test_answers_forbid_frames_foreign_hosts_and_caches(layers: ChannelLayerRegistry) -> None:
    for authorize, path in [(yes, "/"), (yes, "/plot.js"), (yes, "/nowhere"), (no, "/")]:
        response = await get(inspector(authorize=authorize), path)
        headers = dict(response["headers"])
        policy = headers[b"content-security-policy"].decode().split("; ")
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in str(policy)
        assert headers[b"x-frame-options"] == b"DENY"
        assert headers[b"x-content-type-options"] == b"nosniff"
        assert headers[b"referrer-policy"] == b"no-referrer"
        assert headers[b"cache-control"] == b"no-store"


async def test_head_is_answered_without_a_body_and_other_methods_with_405(
    layers: ChannelLayerRegistry,
) -> None:
    app = inspector(authorize=yes)
    head, whole = await get(app, "/", "HEAD"), await get(app)
    assert (head["status"], head["body"]) == (200, b"")
    assert dict(head["headers"])[b"content-length"] == str(len(whole["body"])).encode()
    assert (await get(app, "/", "POST"))["status"] == 405


@pytest.mark.parametrize("path", ["/../app.py", "/%2e%2e/app.py", "/static/a.css", "//", "/x/"])
async def test_there_is_nothing_but_the_files_of_the_page(
    path: str, layers: ChannelLayerRegistry
) -> None:
    assert (await get(inspector(authorize=yes), path))["status"] == 404


@pytest.mark.parametrize("path", ["/", "/feeds", "/tail", "/tail/", "/tail/other", "/tail/a/b"])
async def test_there_are_no_sockets_but_the_feed_and_the_layers_tails(
    path: str, layers: ChannelLayerRegistry
) -> None:
    assert not await socket(inspector(authorize=yes), path)


async def test_no_tail_can_be_had_where_messages_are_not_to_be_shown(
    layers: ChannelLayerRegistry,
) -> None:
    app = inspector(authorize=yes, tail=False)
    assert not await socket(app, "/tail/default")
    assert await socket(app)


@pytest.mark.parametrize(
    ("origin", "host", "may"),
    [
        ("https://app.example", "app.example", True),
        ("https://APP.example", "app.example:443", True),
        ("http://app.example:80", "app.example", True),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("https://evil.example", "app.example", False),
        ("https://app.example.evil.example", "app.example", False),
        ("https://app.example:8443", "app.example", False),
        ("http://app.example:443", "app.example", False),
        ("null", "app.example", False),
        ("https://", "", False),
        ("file://app.example", "app.example", False),
        ("https://[", "app.example", False),
    ],
)
async def test_the_page_of_another_site_gets_no_socket(
    origin: str, host: str, may: bool, layers: ChannelLayerRegistry
) -> None:
    app = inspector(authorize=yes)
    assert await socket(app, origin=origin, host=host) is may


async def test_a_second_origin_or_none_of_a_host_is_refused(layers: ChannelLayerRegistry) -> None:
    app = inspector(authorize=yes)
    assert not await socket(app, origin="https://app.example")
    two = [(b"origin", b"https://a.example"), (b"origin", b"https://b.example")]
    client = WebsocketCommunicator(app, "/feed", headers=[*two, (b"host", b"a.example")])
    async with client:
        assert not (await client.connect(5))[0]


async def test_origins_that_are_named_may_come_and_no_others(layers: ChannelLayerRegistry) -> None:
    app = inspector(authorize=yes, origins=["https://admin.example"])
    assert await socket(app, origin="https://admin.example", host="internal:8000")
    assert not await socket(app, origin="https://internal:8000", host="internal:8000")


async def test_a_lifespan_is_not_served(layers: ChannelLayerRegistry) -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(ValueError, match="lifespan"):
        await inspector(authorize=yes)({"type": "lifespan"}, never, never)
