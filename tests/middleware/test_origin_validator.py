"""Which origins may open a socket; whatever a client sends, it is served or denied."""

import logging
from typing import Any
from urllib.parse import urlparse

import pytest

from fast_channels.middleware import OriginValidator
from fast_channels.testing import ApplicationCommunicator, WebsocketCommunicator


async def accept(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await receive()


async def admitted(allowed: Any, *origins: bytes) -> bool:
    headers = [(b"host", b"server"), *((b"origin", origin) for origin in origins)]
    async with WebsocketCommunicator(OriginValidator(accept, allowed), "/", headers) as client:
        connected, code = await client.connect()
        assert connected or code == 1000
        return connected


@pytest.mark.parametrize(
    ("pattern", "origin"),
    [
        ("example.com", b"http://example.com"),
        ("example.com", b"https://example.com:8443"),
        ("EXAMPLE.com", b"HTTP://Example.Com"),
        (".example.com", b"https://example.com"),
        (".example.com", b"https://a.b.example.com:99"),
        ("example.com:8000", b"http://example.com:8000"),
        ("example.com:443", b"https://example.com"),
        ("http://example.com", b"http://example.com"),
        ("http://example.com", b"http://example.com:80"),
        ("https://example.com:443", b"https://example.com"),
        ("http://example.com:8000", b"http://example.com:8000"),
        ("HTTPS://.Example.com", b"https://www.example.com"),
        ("https://example.com/", b"https://example.com"),
        ("capacitor://localhost", b"capacitor://localhost"),
        ("http://[::1]:8000", b"http://[::1]:8000"),
        ("127.0.0.1", b"http://127.0.0.1:5173"),
        ("*", b"http://anything"),
        ("*", b"null"),
        ("*", b""),
    ],
)
async def test_an_origin_that_matches_is_let_through(pattern: str, origin: bytes):
    assert await admitted([pattern], origin)
    assert await admitted(["other.org", pattern], origin)


@pytest.mark.parametrize(
    ("pattern", "origin"),
    [
        ("example.com", b"http://evil.com"),
        ("example.com", b"http://a.example.com"),
        ("example.com", b"http://example.com.evil.com"),
        ("example.com", b"http://example.com@evil.com"),
        (".example.com", b"http://badexample.com"),
        ("example.com:8000", b"http://example.com"),
        ("example.com:8000", b"http://example.com:8001"),
        ("127.0.0.1:8000", b"http://127.0.0.1:5173"),
        ("http://example.com", b"https://example.com"),
        ("http://example.com", b"http://example.com:8000"),
        ("http://example.com", b"http://example.com:0"),
        ("http://example.com:8000", b"http://example.com"),
        ("example.com", b"example.com"),
        ("example.com", b"null"),
        ("null", b"null"),
        ("example.com", b""),
        ("example.com", b"file://"),
    ],
)
async def test_an_origin_that_does_not_match_is_denied(pattern: str, origin: bytes):
    assert not await admitted([pattern], origin)


@pytest.mark.parametrize(
    "origin",
    [
        b"http://a:99999",
        b"http://a:-1",
        b"http://a:port",
        b"http://[::1",
        b"http://[nonsense]",
        b"http://\xff\xfe",
        "http://bücher.example".encode(),
        "http://\uff41".encode(),
    ],
)
@pytest.mark.parametrize("pattern", ["a", "http://a", "*"])
async def test_a_malformed_origin_is_denied_and_never_an_error(pattern: str, origin: bytes):
    assert not await admitted([pattern], origin)


@pytest.mark.parametrize("pattern", ["example.com", "*"])
async def test_several_origin_headers_are_denied_even_when_each_would_pass(pattern: str):
    assert not await admitted([pattern], b"http://example.com", b"http://example.com")


async def test_a_connection_without_an_origin_passes_only_where_all_do():
    assert not await admitted(["example.com"])
    assert await admitted(["*"])


async def test_a_header_name_in_upper_case_is_an_origin_too():
    application = OriginValidator(accept, ["example.com"])
    headers = [(b"Origin", b"http://example.com")]
    async with WebsocketCommunicator(application, "/", headers) as client:
        assert await client.connect() == (True, None)


async def test_an_empty_list_denies_everything():
    assert not await admitted([], b"http://example.com")


async def test_an_iterator_is_read_once_and_serves_every_connection():
    application = OriginValidator(accept, (each for each in ["a.com", "b.com"]))
    assert application.allowed_origins == ["a.com", "b.com"]
    for _ in range(2):
        headers = [(b"origin", b"http://b.com")]
        async with WebsocketCommunicator(application, "/", headers) as client:
            assert await client.connect() == (True, None)


@pytest.mark.parametrize("kind", ["http", "lifespan", "channel"])
async def test_a_connection_that_is_no_websocket_is_an_error_that_names_its_type(kind: str):
    client = ApplicationCommunicator(OriginValidator(accept, ["*"]), {"type": kind})
    with pytest.raises(ValueError, match=f"not '{kind}'"):
        await client.wait()


async def test_a_subclass_may_decide_by_itself():
    class Own(OriginValidator):
        def valid_origin(self, parsed_origin: Any) -> bool:
            return parsed_origin is not None and parsed_origin.hostname == "mine.org"

    for origin, expected in [(b"http://mine.org", True), (b"http://example.com", False)]:
        application = Own(accept, ["example.com"])
        async with WebsocketCommunicator(application, "/", [(b"origin", origin)]) as client:
            assert (await client.connect())[0] is expected


async def test_a_subclass_that_validates_origins_is_not_asked_about_a_missing_one():
    class Own(OriginValidator):
        def validate_origin(self, parsed_origin: Any) -> bool:
            return True

    async with WebsocketCommunicator(Own(accept, []), "/") as client:
        assert await client.connect() == (False, 1000)


def test_the_single_steps_can_be_called():
    validator = OriginValidator(accept, ["http://.example.com:8000"])
    origin = urlparse("http://a.example.com:8000")
    assert validator.application is accept
    assert validator.valid_origin(origin)
    assert validator.validate_origin(origin)
    assert validator.match_allowed_origin(origin, "a.example.com")
    assert not validator.match_allowed_origin(None, "a.example.com")
    assert not validator.valid_origin(None)
    assert [
        validator.get_origin_port(urlparse(url))
        for url in ("ws://a", "wss://a", "http://a", "https://a", "http://a:81", "app://a")
    ] == [80, 443, 80, 443, 81, None]


@pytest.mark.parametrize("origins", ["https://example.com", b"https://example.com"])
def test_one_origin_in_place_of_a_list_is_an_error_that_says_to_pass_a_list(origins: Any):
    with pytest.raises(TypeError) as raised:
        OriginValidator(accept, origins)
    assert f"pass [{origins!r}]" in str(raised.value)


@pytest.mark.parametrize("origins", [[b"example.com"], ["example.com", None], [("a", "b")]])
def test_a_pattern_that_is_no_string_is_an_error_that_shows_it(origins: Any):
    with pytest.raises(TypeError) as raised:
        OriginValidator(accept, origins)
    assert f"{origins[-1]!r} must be a str" in str(raised.value)


@pytest.mark.parametrize("pattern", ["http://a:99999", "a:port", "http://[::1"])
def test_a_pattern_that_cannot_be_read_is_an_error_that_shows_it(pattern: str):
    with pytest.raises(ValueError, match="cannot be read") as raised:
        OriginValidator(accept, [pattern])
    assert repr(pattern) in str(raised.value)


@pytest.mark.parametrize("pattern", ["", "*.example.com", "https://*.example.com", "http://"])
async def test_a_pattern_that_can_never_match_is_logged_and_matches_nothing(
    pattern: str, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, "fast_channels.middleware"):
        assert not await admitted([pattern], b"https://a.example.com")
    assert f"allowed origin {pattern!r} matches nothing" in caplog.text


def test_good_patterns_are_not_logged(caplog: pytest.LogCaptureFixture):
    OriginValidator(accept, ["*", "example.com", ".example.com:80", "https://example.com"])
    assert not caplog.records


def test_what_is_no_application_is_refused():
    with pytest.raises(TypeError, match="must be callable"):
        OriginValidator(None, ["*"])  # type: ignore[arg-type]
