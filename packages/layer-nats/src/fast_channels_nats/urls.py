"""What applications write to name their servers, and what it means.

``nats://host:4222``, several of them in a list or after commas, ``tls://`` where the connection has
to be encrypted. No error shows a password or a token.
"""

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from fast_channels_nats.access import Access
from fast_channels_nats.server import Server

DEFAULT_PORT: Final = 4222
OPTIONS: Final = (
    "user",
    "password",
    "token",
    "nkey",
    "credentials",
    "tls",
    "tls_ca",
    "tls_cert",
    "tls_key",
)
"""What a URL may say after ``?``, but for ``tls``, and what the layer takes as arguments."""


def parse_servers(urls: object = None, **options: Any) -> list[Server]:
    """Return the servers; None is one on this machine.

    Raises ``ValueError`` or ``TypeError`` for what cannot be meant.
    """
    for name in options:
        if name not in (*OPTIONS, "max_payload", "connect_timeout"):
            raise TypeError(f"unknown option {name!r}; the options are: {', '.join(OPTIONS)}")
    urls = "nats://localhost:4222" if urls is None else urls
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
        raise ValueError("the list of servers is empty; leave it out for nats://localhost:4222")
    return [_server(part, url, options) for url, part in listed]


def _split(text: str) -> list[str]:
    """Return the URLs of ``nats://a:1,b:2`` and of ``nats://a:1,nats://b:2``.

    The first says the scheme, who we are, and what comes after ``?``, where another does not.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        return [text]
    hosts, question, query = rest.partition("?")
    first, *others = hosts.split(",")
    access = first.rpartition("@")[0]
    urls = [f"{scheme}://{first}{question}{query}"]
    for host in others:
        head, own, address = host.strip().rpartition("://")
        head = head if own else scheme
        if access and "@" not in address:
            address = f"{access}@{address}"
        urls.append(f"{head}://{address}{question}{query}")
    return urls


def _server(url: object, whole: object, options: dict[str, Any]) -> Server:
    """Return the server of one URL, which is ``whole`` or, where that lists several, a part."""
    if not isinstance(url, str):
        raise TypeError(f"a server must be a URL, got {type(url).__name__}")
    shown = f"{url.partition('://')[0]}://{url.rpartition('@')[2]}" if "@" in url else url
    if "@" not in url and "@" in str(whole):  # it may be the begin of a password with a comma
        shown = "***"
    shown = shown.partition("?")[0]
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme not in ("nats", "tls"):
        raise ValueError(f"the URL of a server begins with nats:// or tls://, got {shown!r}")
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
    if parts.path not in ("", "/") or parts.fragment:
        raise ValueError(f"the URL {shown!r} has a path, and NATS has none; name a prefix instead")
    said = dict(options)
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in OPTIONS or name == "tls":
            known = ", ".join(option for option in OPTIONS if option != "tls")
            name = "***" if "@" in parts.query else name  # the rest of a password with a "?"
            raise ValueError(f"{shown!r} has the unknown option {name!r}; it may have: {known}")
        said.setdefault(name, value)
    if parts.username is not None:
        if parts.password is None:
            said["token"] = unquote(parts.username)
        else:
            said["user"], said["password"] = unquote(parts.username), unquote(parts.password)
    entry: dict[str, Any] = {name: said.pop(name) for name in OPTIONS if name in said}
    context = _context(scheme, entry)
    access = Access(**{k: v for k, v in entry.items() if not k.startswith("tls")})
    return Server(
        host=host, port=port or DEFAULT_PORT, access=_checked(access), tls=context, **said
    )


def _checked(access: Access) -> Access:
    ways = [
        name
        for name in ("user", "token", "nkey", "credentials")
        if getattr(access, name) is not None
    ]
    if len(ways) > 1:
        raise ValueError(f"{' and '.join(ways)} were given; a server takes one of them")
    if access.password is not None and access.user is None:
        raise ValueError("a password was given, and no user")
    return access


def _context(scheme: str, known: dict[str, Any]) -> ssl.SSLContext | None:
    """Return how to encrypt; None: only if the server insists."""
    given = known.get("tls")
    files = [known.get(f"tls_{name}") for name in ("ca", "cert", "key")]
    if given is not None:
        if not isinstance(given, ssl.SSLContext):
            raise TypeError(f"tls must be an ssl.SSLContext, got {type(given).__name__}")
        if any(files):
            raise ValueError("tls and one of its files were both given")
        return given
    if scheme != "tls" and not any(files):
        return None
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
        raise ValueError(f"the TLS files of a NATS server cannot be used: {error}") from error
    return context
