"""What may be written to name servers, and what is said when it cannot be meant."""

from typing import Any

import pytest

from fast_channels.layers import channel_layers, register_channel_layer, unregister_channel_layer
from fast_channels_nats import NatsChannelLayer, nats_layer
from fast_channels_nats.subjects import stream_of, subject_of
from fast_channels_nats.urls import parse_servers

SECRET = "correct-horse-7"


def addresses(*args: Any, **options: Any) -> list[tuple[str, int]]:
    """Return host and port of each server."""
    return [(server.host, server.port) for server in parse_servers(*args, **options)]


def test_servers_are_named_in_one_url_or_in_a_list() -> None:
    assert addresses() == [("localhost", 4222)]
    assert addresses("nats://a") == [("a", 4222)]
    assert addresses("nats://a:1,b:2, c") == [("a", 1), ("b", 2), ("c", 4222)]
    assert addresses("nats://a:1,nats://b:2") == [("a", 1), ("b", 2)]
    assert addresses(["nats://a:1", "tls://[::1]:2"]) == [("a", 1), ("::1", 2)]


def test_who_we_are_stands_in_the_url_or_in_arguments() -> None:
    both = parse_servers("nats://ann:p%40ss@a,b")
    assert [(s.access.user, s.access.password) for s in both] == [("ann", "p@ss")] * 2
    [server] = parse_servers("nats://tok@a")
    assert (server.access.token, server.access.user) == ("tok", None)
    [server] = parse_servers("nats://a", credentials="/etc/user.creds")
    assert server.access.credentials == "/etc/user.creds"
    [server] = parse_servers("nats://a?nkey=/etc/user.nk")
    assert server.access.nkey == "/etc/user.nk"
    assert SECRET not in repr(parse_servers(f"nats://ann:{SECRET}@a"))


@pytest.mark.parametrize(
    ("url", "options", "text"),
    [
        ("http://a", {}, "begins with nats:// or tls://"),
        ("localhost:4222", {}, "begins with nats:// or tls://"),
        (f"nats://ann:{SECRET}@a:x", {}, "the port in 'nats://a:x' is none"),
        (f"nats://ann:{SECRET}@", {}, "names no host"),
        (f"nats://ann:{SECRET}@a/room", {}, "has a path"),
        ("nats://a?tls_verify=1", {}, "unknown option 'tls_verify'; it may have: user"),
        (f"nats://ann:{SECRET}@a", {"token": SECRET}, "user and token were given"),
        ("nats://a", {"password": SECRET}, "a password was given, and no user"),
        ("nats://a", {"tls_key": "k"}, "tls_key was given, and no tls_cert"),
        ("nats://a", {"tls_ca": "/absent"}, "No such file or directory: '/absent'"),
        ([], {}, "the list of servers is empty"),
    ],
)
def test_what_cannot_be_meant_is_told_without_secrets(
    url: Any, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_servers(url, **options)
    assert text in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"replicas": 6}, "replicas must be 1 to 5"),
        ({"max_payload": 10}, "max_payload must be an int of at least 4096"),
        ({"inbox_prefix": "a..b"}, "inbox_prefix must be a subject"),
    ],
)
def test_an_option_out_of_range_is_told(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        NatsChannelLayer("nats://a", **options)


def test_an_unknown_option_is_told() -> None:
    with pytest.raises(TypeError, match="unknown layer option 'url_prefix'"):
        NatsChannelLayer("nats://a", url_prefix="x")
    with pytest.raises(TypeError, match="url and servers were both given"):
        nats_layer("nats://a", servers=["nats://b"])


@pytest.mark.parametrize(
    ("name", "options"),
    [("nats://a:4222", {}), ("tls://a:4222", {}), ("nats", {"url": "nats://a:4222,b:4222"})],
)
def test_a_layer_is_registered_by_its_url_or_name(name: str, options: dict[str, Any]) -> None:
    register_channel_layer("nats-by-url", name, **options)
    try:
        assert isinstance(channel_layers["nats-by-url"], NatsChannelLayer)
    finally:
        unregister_channel_layer("nats-by-url")


def test_every_name_has_a_legal_subject_of_its_own() -> None:
    names = ["a", "A", "a.", ".a", "a..a", "a.a", ".", "..", "-", "_", "a-a", "*".replace("*", "x")]
    prefixes = ["fc", "app.prod", ".", "a..b", "a:b"]
    topics = [f"{prefix}:{kind}.{name}" for prefix in prefixes for kind in "gnq" for name in names]
    subjects = [subject_of(topic).decode() for topic in topics]
    assert len(set(subjects)) == len(topics)
    assert all(all(subject.split(".")) for subject in subjects)
    assert subject_of("app.prod:g.room") == b"app.prod.g.room"
    streams = [stream_of(topic) for topic in topics]
    assert len(set(streams)) == len(topics)
    assert not set("".join(streams)) & set(" .*>/\\")
