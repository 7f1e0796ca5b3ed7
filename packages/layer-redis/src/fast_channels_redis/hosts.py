"""What applications write for ``hosts``, and what it means.

Every form of channels_redis is understood, every URL of redis-py, and two of our own, for Sentinel
and Cluster. An option that cannot be meant is an error before any I/O; no error shows a password.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import SSLConnection, parse_url

from fast_channels_redis.server import CONNECT_SECONDS, Server
from fast_channels_redis.tls import TLS_OPTIONS, tls_context

DEFAULT_PORT: Final = 6379
SENTINEL_PORT: Final = 26379

SCHEMES: Final = {
    "valkey": "redis",
    "valkeys": "rediss",
    "redis+sentinel": "redis",
    "rediss+sentinel": "rediss",
    "redis+cluster": "redis",
    "rediss+cluster": "rediss",
}
"""Schemes that redis-py does not know, and what each is to it."""

OPTIONS: Final = (
    "host",
    "port",
    "path",
    "db",
    "username",
    "password",
    "credential_provider",
    "client_name",
    "socket_connect_timeout",
    "ssl",
    "ssl_context",
    *TLS_OPTIONS,
)
WITHOUT_EFFECT: Final = frozenset(
    {
        "socket_timeout",
        "socket_read_size",
        "socket_keepalive",
        "socket_keepalive_options",
        "socket_type",
        "retry",
        "retry_on_timeout",
        "retry_on_error",
        "max_connections",
        "timeout",
        "health_check_interval",
        "single_connection_client",
        "auto_close_connection_pool",
        "protocol",
        "encoding",
        "encoding_errors",
        "decode_responses",
        "lib_name",
        "lib_version",
        "driver_info",
        "parser_class",
        "legacy_responses",
        "ssl_validate_ocsp",
        "ssl_validate_ocsp_stapled",
    }
)
"""Options of redis-py's pools and sockets, of which this package has none."""


@dataclass(frozen=True, slots=True)
class Single:
    """One server."""

    server: Server


@dataclass(frozen=True, slots=True)
class Sentinels:
    """The master that some Sentinels know by a name."""

    server: Server
    """The master, but for its address."""
    master: str
    sentinels: tuple[Server, ...]


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Redis Cluster, found through any of its nodes."""

    nodes: tuple[Server, ...]


Spec = Single | Sentinels | Cluster


def parse_hosts(hosts: object) -> list[Spec]:
    """Return what each entry of ``hosts`` means; None, or no entry, is one server on this machine.

    Raises ``ValueError`` or ``TypeError`` for what cannot be meant.
    """
    if hosts is None:
        return [Single(Server())]
    if isinstance(hosts, str | bytes | dict) or not isinstance(hosts, Iterable):
        raise ValueError(
            f"hosts must be a list, got a {_kind(hosts)}; write hosts=[...] with the one host in it"
        )
    specs = [parse_host(host) for host in cast("Iterable[object]", hosts)]
    if not specs:
        return [Single(Server())]  # as in channels_redis
    if len(specs) > 1 and any(isinstance(spec, Cluster) for spec in specs):
        raise ValueError(
            "a Cluster shards by itself: name all its nodes in one redis+cluster:// URL, "
            "and nothing else in hosts"
        )
    return specs


def parse_host(host: object) -> Spec:
    """Return what one entry of ``hosts`` means."""
    if isinstance(host, bytes):
        host = host.decode()
    if isinstance(host, str):
        return parse_address(host, {})
    if isinstance(host, Mapping):
        settings = dict(cast("Mapping[str, Any]", host))
        address = settings.pop("address", None)
        if address is not None:
            return parse_host_address(address, settings)
        if "master_name" in settings or "sentinels" in settings:
            return _sentinels(settings)
        return Single(_server(settings))
    if isinstance(host, tuple | list) and len(cast("Sequence[object]", host)) == 2:
        name, port = cast("Sequence[object]", host)
        return Single(_server({"host": name, "port": port}))
    raise TypeError(
        "a host is a URL, a (host, port) pair, or a dict with 'address', with 'host' and 'port', "
        f"or with 'sentinels' and 'master_name'; got a {_kind(host)}"
    )


def parse_host_address(address: object, settings: dict[str, Any]) -> Spec:
    """Return what ``{"address": ..., **settings}`` means."""
    if isinstance(address, tuple | list) and len(cast("Sequence[object]", address)) == 2:
        name, port = cast("Sequence[object]", address)
        return Single(_server({"host": name, "port": port, **settings}))
    if not isinstance(address, str | bytes):
        raise TypeError(f"'address' must be a URL, got a {_kind(address)}")
    return parse_address(address.decode() if isinstance(address, bytes) else address, settings)


def parse_address(url: str, settings: Mapping[str, Any]) -> Spec:
    """Return what a URL means; ``settings`` count more than what it says."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        raise ValueError(f"{redacted(url)} is no URL; write for example redis://localhost:6379/0")
    kind = SCHEMES.get(scheme, scheme)
    if scheme.endswith(("+sentinel", "+cluster")):
        return _several(scheme, kind, rest, settings)
    return Single(_server({**_parsed(f"{kind}://{rest}"), **settings}))


def redacted(url: str) -> str:
    """Return the URL as it may be shown: without user, password and options."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "", url
    host = rest.rpartition("@")[2].partition("?")[0]
    return repr(f"{scheme}{mark}{'***@' if '@' in rest else ''}{host}")


def _several(scheme: str, kind: str, rest: str, settings: Mapping[str, Any]) -> Spec:
    """Return what a URL with a list of addresses means."""
    url = f"{scheme}://{rest}"
    place, query_mark, query = rest.partition("?")
    login, at, place = place.rpartition("@")
    listed, *path = place.split("/")
    addresses = [item for item in listed.split(",") if item]
    if not addresses:
        raise ValueError(f"{redacted(url)} names no host")
    path = [unquote(part) for part in path if part]
    sentinel = scheme.endswith("+sentinel")
    master = path.pop(0) if sentinel and path else None
    if (sentinel and not master) or len(path) > 1 or (path and not sentinel and path != ["0"]):
        example = "host:26379,host:26379/master-name/0" if sentinel else "host:6379,host:6379"
        raise ValueError(f"{redacted(url)} is not of the form {scheme}://user:password@{example}")
    common = _parsed(f"{kind}://{login}{at}localhost/{''.join(path)}{query_mark}{query}")
    common = {**common, **settings}
    port = SENTINEL_PORT if sentinel else DEFAULT_PORT
    pairs = [_address(url, item, port) for item in addresses]
    if sentinel:
        asked = {k: v for k, v in common.items() if k.startswith("ssl") or k == "connection_class"}
        for name in ("username", "password"):
            if (value := common.pop(f"sentinel_{name}", None)) is not None:
                asked[name] = value
        return _sentinels(
            {**common, "sentinels": pairs, "master_name": master, "sentinel_kwargs": asked}
        )
    servers = [
        _server({**common, "host": host, "port": number}, mode="cluster") for host, number in pairs
    ]
    if servers[0].db:
        raise ValueError(f"a Cluster has no database but 0, got {servers[0].db}")
    return Cluster(tuple(servers))


def _address(url: str, text: str, default: int) -> tuple[str, int]:
    """Return host and port of ``host``, ``host:port`` or ``[address]:port``."""
    try:
        parts = urlsplit(f"//{text}")
        return unquote(parts.hostname or "localhost"), parts.port or default
    except ValueError:
        raise ValueError(f"{redacted(url)} holds an address that is none") from None


def _parsed(url: str) -> dict[str, Any]:
    """Return the keywords that redis-py reads out of a URL of its own."""
    try:
        parts = urlsplit(url)
        if "@" in parts.path + parts.query:
            raise ValueError
        keywords = dict(cast("Mapping[str, Any]", parse_url(url)))
        database = parts.path.strip("/")
        wrong = parts.scheme != "unix" and database and not database.isdigit()
    except ValueError:
        # Not what it says: where a password holds a "/", it says a part of it.
        raise ValueError(
            f"{redacted(url)} cannot be read; is a character of the password not "
            "percent-encoded, or the scheme none of redis, rediss, unix?"
        ) from None
    if wrong:
        raise ValueError(f"{redacted(url)} names a database that is no number")
    return keywords


def _sentinels(settings: dict[str, Any]) -> Sentinels:
    master = settings.pop("master_name", None)
    addresses = settings.pop("sentinels", None)
    asked = dict(settings.pop("sentinel_kwargs", None) or {})
    if not isinstance(master, str) or not master or not addresses:
        raise ValueError("a host with Sentinels needs 'sentinels' (a list) and 'master_name'")
    if isinstance(addresses, str | bytes):
        raise ValueError("'sentinels' must be a list of (host, port) pairs, got one str")
    asked.pop("min_other_sentinels", None)
    sentinels: list[Server] = []
    for address in addresses:
        if isinstance(address, str):
            address = _address("sentinel", address, SENTINEL_PORT)
        host, port = address
        sentinels.append(_server({**asked, "host": host, "port": port}, mode="sentinel"))
    return Sentinels(_server(settings), master, tuple(sentinels))


def _server(settings: Mapping[str, Any], mode: str = "standalone") -> Server:
    """Return the server that redis-py's keywords describe."""
    given = {name: value for name, value in settings.items() if value is not None}
    kind = given.pop("connection_class", None)
    secure = given.pop("ssl", False) or (isinstance(kind, type) and issubclass(kind, SSLConnection))
    unknown = sorted(given.keys() - set(OPTIONS) - WITHOUT_EFFECT)
    if unknown:
        raise TypeError(
            f"unknown option {unknown[0]!r} of a redis host; the options are: {', '.join(OPTIONS)}"
        )
    timeout = given.get("socket_connect_timeout", CONNECT_SECONDS)
    return Server(
        host=_text("host", given.get("host", "localhost")),
        port=_number("port", given.get("port", DEFAULT_PORT), 1, 65_535),
        path=given.get("path"),
        db=_number("db", given.get("db", 0), 0, 2**31),
        username=given.get("username"),
        password=given.get("password"),
        credentials=given.get("credential_provider"),
        tls=tls_context(given) if secure or "ssl_context" in given else None,
        client_name=_text("client_name", given.get("client_name", "fast-channels")),
        connect_timeout=_seconds("socket_connect_timeout", timeout),
        mode=mode,
    )


def _kind(value: Any) -> str:
    return str(type(value).__name__)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value or " " in value:
        raise ValueError(f"{name} must be a str without spaces, got {value!r}")
    return value


def _number(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be an int from {low} to {high}, got {value!r}")
    return value


def _seconds(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    raise ValueError(f"{name} must be seconds above 0, got {value!r}")
