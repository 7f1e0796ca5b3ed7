"""What may stand in ``hosts``, and what is said of what may not."""

import ssl

import pytest

from fast_channels.layers import register_channel_layer, unregister_channel_layer
from fast_channels_redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels_redis.hosts import Cluster, Sentinels, Single, parse_host, parse_hosts
from fast_channels_redis.server import Server
from fast_channels_redis.sharding import consistent_hash


def single(host: object) -> Server:
    """Return the one server that the host means."""
    spec = parse_host(host)
    assert isinstance(spec, Single)
    return spec.server


def test_no_hosts_are_one_server_here() -> None:
    assert parse_hosts(None) == [Single(Server(host="localhost", port=6379))]


@pytest.mark.parametrize(
    ("host", "server"),
    [
        ("redis://", Server()),
        ("redis://box", Server(host="box")),
        (b"redis://box:7000/3", Server(host="box", port=7000, db=3)),
        ("valkey://box:7000/3", Server(host="box", port=7000, db=3)),
        ("redis://box?db=2", Server(host="box", db=2)),
        ("redis://[::1]:7000", Server(host="::1", port=7000)),
        ("redis://ann:s%2Fcret@box", Server(host="box", username="ann", password="s/cret")),
        ("redis://:secret@box", Server(host="box", password="secret")),
        ("unix:///run/redis.sock?db=1", Server(path="/run/redis.sock", db=1)),
        (("box", 7000), Server(host="box", port=7000)),
        (["box", "7000"], Server(host="box", port=7000)),
        ({"host": "box", "port": 7000, "db": 1}, Server(host="box", port=7000, db=1)),
        ({"address": "redis://box", "password": "p"}, Server(host="box", password="p")),
        ({"address": ("box", 7000), "db": 2}, Server(host="box", port=7000, db=2)),
        ({"address": "redis://box", "retry_on_timeout": True}, Server(host="box")),
        ({"host": "box", "socket_connect_timeout": 3}, Server(host="box", connect_timeout=3.0)),
        ("redis://box?client_name=web&socket_timeout=5", Server(host="box", client_name="web")),
    ],
)  # fmt: skip
def test_a_host_may_be_written_in_these_ways(host: object, server: Server) -> None:
    assert single(host) == server


def test_sentinels_may_be_a_dict_or_a_url() -> None:
    expected = Sentinels(
        Server(db=1, password="p"),
        "mymaster",
        (
            Server(host="a", port=26379, password="s", mode="sentinel"),
            Server(host="b", port=7000, password="s", mode="sentinel"),
        ),
    )
    url = "redis+sentinel://:p@a,b:7000/mymaster/1?sentinel_password=s"
    written = {
        "sentinels": [("a", 26379), ("b", 7000)],
        "master_name": "mymaster",
        "sentinel_kwargs": {"password": "s"},
        "db": 1,
        "password": "p",
    }
    assert parse_host(url) == parse_host(written) == expected


def test_a_cluster_is_a_url_with_its_nodes() -> None:
    assert parse_hosts(["redis+cluster://:p@a:7000,b"]) == [
        Cluster(
            (
                Server(host="a", port=7000, password="p", mode="cluster"),
                Server(host="b", port=6379, password="p", mode="cluster"),
            )
        )
    ]


def test_rediss_checks_the_servers_certificate_unless_told_otherwise() -> None:
    strict, lax = single("rediss://box").tls, single("rediss://box?ssl_cert_reqs=none").tls
    assert strict is not None
    assert lax is not None
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (lax.verify_mode, lax.check_hostname) == (ssl.CERT_NONE, False)
    named = single("rediss://box?ssl_check_hostname=false").tls
    assert named is not None
    assert (named.verify_mode, named.check_hostname) == (ssl.CERT_REQUIRED, False)
    context = ssl.create_default_context()
    assert single({"host": "box", "ssl_context": context}).tls is context


@pytest.mark.parametrize("hosts", ["redis://box", b"redis://box", {"host": "box"}, 7000])
def test_hosts_that_are_no_list_are_refused(hosts: object) -> None:
    with pytest.raises(ValueError, match="hosts must be a list, got a"):
        RedisChannelLayer(hosts=hosts)


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("box:7000", "is no URL"),
        ("http://:secret@box", "cannot be read"),
        ("redis://:x/secret@box", "cannot be read"),
        ("redis://:12/secret@box", "cannot be read"),
        ("redis://:x?secret=1@box", "cannot be read"),
        ("redis://:secret@box/main", "names a database that is no number"),
        ("redis://:secret@box:70000", "cannot be read"),
        ("redis://:secret@box/3000000000", "db must be an int from 0"),
        ("redis://:secret@box?db=x", "cannot be read"),
        ("redis://:secret@box?databse=1", "unknown option 'databse'"),
        ("rediss://:secret@box?ssl_ca_certs=/no/such/file", "'/no/such/file'"),
        ("rediss://:secret@box?ssl_cert_reqs=maybe", "ssl_cert_reqs"),
        ("redis+sentinel://:secret@box", "is not of the form"),
        ("redis+sentinel://:secret@/mymaster", "names no host"),
        ("redis+cluster://:secret@a,b/3", "is not of the form"),
        ("redis+cluster://:secret@a:x", "an address that is none"),
        ({"host": "box", "password": "secret", "prot": 1}, "unknown option 'prot'"),
        ({"host": "box", "password": "secret", "port": 0}, "port must be an int"),
        ({"host": "", "password": "secret"}, "host must be a str"),
        ({"sentinels": [], "master_name": "m", "password": "secret"}, "needs 'sentinels'"),
        ({"sentinels": "box", "master_name": "m", "password": "secret"}, "a list of"),
        ({"address": 7000, "password": "secret"}, "'address' must be a URL"),
        (("box",), "a host is a URL"),
        (7000, "a host is a URL"),
    ],
)
def test_a_host_that_cannot_be_meant_is_refused_without_its_password(
    host: object, problem: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=problem) as caught:
        RedisChannelLayer(hosts=[host])
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_cluster_beside_other_hosts_is_refused() -> None:
    with pytest.raises(ValueError, match="a Cluster shards by itself"):
        RedisChannelLayer(hosts=["redis+cluster://a", "redis://b"])


def test_no_hosts_are_the_one_on_this_machine() -> None:
    here = [Single(Server(host="localhost", port=6379, db=0))]
    assert parse_hosts(None) == parse_hosts([]) == parse_hosts(()) == here


def test_no_repr_shows_a_password() -> None:
    for url in ("redis://:secret@box", "redis+sentinel://:secret@box/m?sentinel_password=secret"):
        layer = RedisChannelLayer(hosts=[url])
        assert "secret" not in repr(layer) + repr(vars(layer)) + repr(parse_host(url))


@pytest.mark.parametrize(
    "name",
    [
        *("redis", "rediss", "redis+sentinel", "rediss+sentinel"),
        *("redis+cluster", "rediss+cluster", "valkey"),
    ],
)
def test_every_scheme_registers_a_layer_by_name_and_by_url(name: str) -> None:
    path = "/mymaster" if "sentinel" in name else ""
    try:
        by_url = register_channel_layer("test-redis", f"{name}://box:7000{path}", capacity=7)
        by_name = register_channel_layer("test-redis", name, url=f"{name}://box:7000{path}")
    finally:
        unregister_channel_layer("test-redis")
    for layer in (by_url, by_name):
        assert isinstance(layer, RedisChannelLayer)
        assert layer.options.gaps
        assert layer.options.prefix == "fc"
    assert by_url.options.capacity == 7  # type: ignore[attr-defined]  # a RedisChannelLayer


def test_constructors_take_what_channels_redis_takes() -> None:
    keys = ["a key of thirty-two characters..", "another of at least thirty-two.."]
    layer = RedisChannelLayer(
        ["redis://box"], "app", 30, 3600, 10, {"http.*": 5}, keys, 12, "msgpack"
    )
    assert (layer.options.prefix, layer.expiry, layer.capacity) == ("app", 30, 10)
    assert layer.options.capacity_of("http.x") == 5
    assert RedisChannelLayer().options.prefix == "asgi"
    pubsub = RedisPubSubChannelLayer(["redis://box"], "app", symmetric_encryption_keys=keys)
    assert isinstance(pubsub, RedisChannelLayer)
    assert pubsub.options.encryption_keys == layer.options.encryption_keys
    with pytest.raises(ValueError, match="are not sealed"):
        RedisPubSubChannelLayer(["redis://box"], "app", "down", symmetric_encryption_keys=keys)
    with pytest.raises(ValueError, match="serializer_format"):
        RedisChannelLayer(serializer_format="yaml")
    with pytest.raises(TypeError, match="unknown layer option 'capcity'"):
        RedisChannelLayer(capcity=1)


def test_one_more_host_moves_only_what_it_gets() -> None:
    names = [f"fc:g.room-{number}" for number in range(10_000)]
    for size in (1, 2, 3, 7):
        before = [consistent_hash(name, size) for name in names]
        after = [consistent_hash(name.encode(), size + 1) for name in names]
        moved = [new for old, new in zip(before, after, strict=True) if old != new]
        assert set(moved) == {size}
        assert 0.8 < len(moved) * (size + 1) / len(names) < 1.2
