"""What may be written to name servers, and what is said when it cannot be meant."""

from typing import Any

import pytest

from fast_channels.layers import channel_layers, register_channel_layer, unregister_channel_layer
from fast_channels_rabbitmq import RabbitMQChannelLayer, rabbitmq_layer
from fast_channels_rabbitmq.urls import parse_servers

SECRET = "correct-horse-7"


def addresses(*args: Any, **options: Any) -> list[tuple[str, int, str]]:
    """Return host, port and virtual host of each server."""
    return [(server.host, server.port, server.vhost) for server in parse_servers(*args, **options)]


def test_servers_are_named_in_one_url_or_in_a_list() -> None:
    assert addresses() == [("localhost", 5672, "/")]
    assert addresses("amqp://a") == [("a", 5672, "/")]
    assert addresses("rabbitmq://a/") == [("a", 5672, "/")]
    assert addresses("amqps://a/chat") == [("a", 5671, "chat")]
    assert addresses("amqp://a/%2Fone%2Ftwo") == [("a", 5672, "/one/two")]
    assert addresses("amqp://a:1,b:2, c/chat") == [(h, p, "chat") for h, p in HOSTS]
    assert addresses("amqp://a:1/x,amqp://b:2/y") == [("a", 1, "x"), ("b", 2, "y")]
    assert addresses(["amqp://a:1", "amqps://[::1]:2"]) == [("a", 1, "/"), ("::1", 2, "/")]
    assert addresses(["amqp://a", "amqp://b/y"], vhost="x") == [("a", 5672, "x"), ("b", 5672, "y")]


HOSTS = [("a", 1), ("b", 2), ("c", 5672)]


def test_who_we_are_stands_in_the_url_or_in_arguments() -> None:
    both = parse_servers("amqp://ann:p%40ss@a,b/chat")
    assert [(s.user, s.password) for s in both] == [("ann", "p@ss")] * 2
    [server] = parse_servers("amqp://a")
    assert (server.user, server.password) == ("guest", "guest")
    [server] = parse_servers("amqp://a", user="ann", password=SECRET)
    assert (server.user, server.password) == ("ann", SECRET)
    [server] = parse_servers("amqps://a?auth=external&heartbeat=5")
    assert (server.external, server.heartbeat) == (True, 5)
    assert SECRET not in repr(parse_servers(f"amqp://ann:{SECRET}@a"))


@pytest.mark.parametrize(
    ("url", "options", "text"),
    [
        ("http://a", {}, "written as amqp://user:password@host:5672/vhost"),
        (f"ann:{SECRET}@localhost:5672", {}, "got 'localhost:5672'"),
        (f"amqp://ann:{SECRET}@a:x", {}, "the port in 'amqp://a:x' is none"),
        (f"amqp://ann:{SECRET}@", {}, "names no host"),
        (f"amqp://ann:{SECRET}@a/x/y", {}, "has a '/'; write it as %2F"),
        ("amqp://a?prefetch=1", {}, "unknown option 'prefetch'; it may have: user"),
        ("amqp://a?heartbeat=never", {}, "heartbeat must be 1 to 3600 seconds, got 'never'"),
        ("amqp://a", {"heartbeat": 0}, "heartbeat must be"),
        ("amqp://a", {"auth": "kerberos"}, "auth must be 'plain' or 'external'"),
        ("amqp://a", {"auth": "external"}, "needs amqps://"),
        ("amqp://a", {"tls_ca": "/absent"}, "does not begin with amqps://"),
        ("amqps://a", {"tls_key": "k"}, "tls_key was given, and no tls_cert"),
        ("amqps://a?cafile=/absent", {}, "No such file or directory: '/absent'"),
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


def test_what_is_no_url_at_all_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="a URL or a list of URLs, got int"):
        parse_servers(5672)
    with pytest.raises(TypeError, match="a server must be a URL, got dict"):
        parse_servers([{}])
    with pytest.raises(TypeError, match=r"must be an ssl\.SSLContext, got bool"):
        parse_servers("amqps://a", tls=True)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"queue_type": "stream"}, "queue_type must be 'classic' or 'quorum', got 'stream'"),
        ({"queue_length": 0}, "queue_length must be an int of at least 1, got 0"),
        ({"queue_bytes": 1.5}, "queue_bytes must be an int"),
        ({"max_payload": 100}, "max_payload must be an int of at least 4096"),
    ],
)
def test_wrong_options_of_the_layer_are_told(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        RabbitMQChannelLayer("amqp://a", **options)


def test_the_layer_is_registered_by_name_and_by_url() -> None:
    for arguments in (("amqp://a/chat",), ("amqps://a",), ("rabbitmq",)):
        register_channel_layer("rabbit-test", *arguments)
        try:
            assert isinstance(channel_layers["rabbit-test"], RabbitMQChannelLayer)
        finally:
            unregister_channel_layer("rabbit-test")
    with pytest.raises(TypeError, match="url and hosts were both given"):
        rabbitmq_layer("amqp://a", hosts=["amqp://b"])
