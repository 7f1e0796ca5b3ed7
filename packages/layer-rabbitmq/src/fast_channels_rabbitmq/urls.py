"""What applications write to name their servers, and what it means.

``amqp://user:password@host:5672/vhost``, several hosts after commas or in a list, ``amqps://``
where the connection is encrypted. No error shows a password.
"""

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from fast_channels_rabbitmq.server import HEARTBEAT, Server

PORTS: Final = {"amqp": 5672, "amqps": 5671, "rabbitmq": 5672}
OPTIONS: Final = (
    "user",
    "password",
    "vhost",
    "auth",
    "heartbeat",
    "tls",
    "tls_ca",
    "tls_cert",
    "tls_key",
)
"""What a URL may say after ``?``, but for ``tls``, and what the layer takes as arguments."""

ALIASES: Final = {"cafile": "tls_ca", "certfile": "tls_cert", "keyfile": "tls_key"}
"""What URLs of aio-pika call them."""

DEFAULT: Final = "amqp://localhost:5672"
HOW: Final = "amqp://user:password@host:5672/vhost"


def parse_servers(urls: object = None, **options: Any) -> list[Server]:
    """Return the servers; None is one on this machine.

    Raises ``ValueError`` or ``TypeError`` for what cannot be meant.
    """
    urls = DEFAULT if urls is None else urls
    if isinstance(urls, str):
        given: Iterable[object] = [urls]
    elif isinstance(urls, Iterable):
        given = cast("Iterable[object]", urls)
    else:
        raise TypeError(f"the servers must be a URL or a list of URLs, got {type(urls).__name__}")
    listed = [
        (url, part) for url in given for part in (_split(url) if isinstance(url, str) else [url])
    ]
    if not listed:
        raise ValueError(f"the list of servers is empty; leave it out for {DEFAULT}")
    return [_server(part, url, options) for url, part in listed]


def _split(text: str) -> list[str]:
    """Return the URLs of ``amqp://user:password@a:1,b:2/vhost?x=y``.

    What stands before the first host and after the last one holds for all of them.
    """
    scheme, mark, rest = text.partition("://")
    if not mark or text.count("://") > 1:
        return [part.strip() for part in text.split(",")]
    end = min((at for at in map(rest.find, "/?") if at >= 0), default=len(rest))
    access, at, hosts = rest[:end].rpartition("@")
    return [f"{scheme}://{access}{at}{host.strip()}{rest[end:]}" for host in hosts.split(",")]


def _server(url: object, whole: object, options: dict[str, Any]) -> Server:
    """Return the server of one URL, which is ``whole`` or, where that lists several, a part."""
    if not isinstance(url, str):
        raise TypeError(f"a server must be a URL, got {type(url).__name__}")
    scheme, mark, rest = url.partition("://")
    shown = f"{scheme}{mark}{rest.rpartition('@')[2]}".partition("?")[0]
    shown = shown if mark else url.rpartition("@")[2]
    if "@" not in url and "@" in str(whole):  # it may be the begin of a password with a comma
        shown = "***"
    if not mark or scheme not in PORTS:
        raise ValueError(f"a server is written as {HOW}, or with amqps://; got {shown!r}")
    try:
        parts = urlsplit(url)
    except ValueError:  # which would repeat the URL, and the password in it
        raise ValueError(f"the URL {shown!r} names a host that is none") from None
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"the port in {shown!r} is none") from None
    if not host:
        raise ValueError(f"the URL {shown!r} names no host")
    if "/" in parts.path[1:]:
        raise ValueError(f"the virtual host in {shown!r} has a '/'; write it as %2F")
    said = dict(options)
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        known = ALIASES.get(name, name)
        if known not in OPTIONS or known == "tls":
            listed = ", ".join(option for option in OPTIONS if option != "tls")
            name = "***" if "@" in parts.query else name  # the rest of a password with a "?"
            raise ValueError(f"{shown!r} has the unknown option {name!r}; it may have: {listed}")
        said.setdefault(known, value)
    if parts.username is not None:
        said["user"] = unquote(parts.username)
        said["password"] = unquote(parts.password or "")
    if parts.path not in ("", "/"):
        said["vhost"] = unquote(parts.path[1:])
    return Server(
        host=host,
        port=port or PORTS[scheme],
        tls=_context(scheme, said),
        external=_external(scheme, said),
        heartbeat=_heartbeat(said.get("heartbeat", HEARTBEAT)),
        **{name: said[name] for name in ("user", "password", "vhost") if said.get(name)},
    )


def _external(scheme: str, said: dict[str, Any]) -> bool:
    auth = said.get("auth", "plain")
    if auth not in ("plain", "external"):
        raise ValueError(f"auth must be 'plain' or 'external', got {auth!r}")
    if auth == "external" and scheme != "amqps":
        raise ValueError("auth='external' needs amqps://: the certificate says who we are")
    return bool(auth == "external")


def _heartbeat(value: object) -> int:
    try:
        seconds = int(cast("str", value))
    except (TypeError, ValueError):
        seconds = -1
    if not 1 <= seconds <= 3_600:
        raise ValueError(f"heartbeat must be 1 to 3600 seconds, got {value!r}")
    return seconds


def _context(scheme: str, said: dict[str, Any]) -> ssl.SSLContext | None:
    given = said.get("tls")
    files = [said.get(f"tls_{name}") for name in ("ca", "cert", "key")]
    if scheme != "amqps":
        if given is not None or any(files):
            raise ValueError("TLS options were given, and the URL does not begin with amqps://")
        return None
    if given is not None:
        if not isinstance(given, ssl.SSLContext):
            raise TypeError(f"tls must be an ssl.SSLContext, got {type(given).__name__}")
        if any(files):
            raise ValueError("tls and one of its files were both given")
        return given
    authorities, certificate, key = files
    if key and not certificate:
        raise ValueError("tls_key was given, and no tls_cert")
    try:
        for file in filter(None, files):
            Path(file).read_bytes()  # whose error names the file, which that of ssl does not
        context = ssl.create_default_context(cafile=authorities)
        if certificate:
            context.load_cert_chain(certificate, key)
    except OSError as error:
        raise ValueError(f"the TLS files cannot be used: {error}") from error
    return context
