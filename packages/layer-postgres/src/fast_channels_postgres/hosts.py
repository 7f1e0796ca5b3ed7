"""The servers that a URL names, and connecting to the first of them that can be used."""

import asyncio
import ssl
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from fast_channels.exceptions import BackendUnavailable
from fast_channels_postgres.connection import Connection
from fast_channels_postgres.driver import (
    InterfaceError,
    InternalClientError,
    NotPrimary,
    Pool,
    PostgresError,
    Raw,
    connect,
)

SCHEMES: Final = ("postgres", "postgresql")
HOST_SECONDS: Final = 1.0
"""How long one host may take at least until it is connected to, if it has to: a host that swallows
everything must not keep us from the next one."""

CANCEL_SECONDS: Final = 0.5
"""How long a cancelled attempt may go on."""

DEFAULT_PORT: Final = 5432

FAILURES: Final = (
    OSError,
    PostgresError,
    InterfaceError,
    InternalClientError,
    NotPrimary,
    ValueError,
)
"""What asyncpg raises where it cannot connect."""


class Host(NamedTuple):
    """One server; None: where libpq's defaults say."""

    host: str | None
    port: int | None

    def __str__(self) -> str:
        if self.host is None:
            return "the default host"
        return f"{self.host}:{self.port or DEFAULT_PORT}"


class Connects(Protocol):
    """Makes connections to one server."""

    async def connect(self, seconds: float, /) -> Connection:
        """Return a new one, within about so many seconds; raises ``BackendUnavailable``."""
        ...


class Source:
    """Makes connections to a host of a URL that is up and takes writes: to the one that did last,
    or to the first.

    A pooler is not asked whether it does.
    """

    def __init__(
        self, url: str, options: Mapping[str, Any] | None = None, *, pooler: bool = False
    ) -> None:
        self._url = url
        self._hosts = parse_hosts(url)
        self._good: Host | None = None
        """The one that was connected to last."""
        self._options = dict(options or {})
        if not pooler and "target_session_attrs" not in parse_qs(urlsplit(url).query):
            self._options.setdefault("target_session_attrs", "primary")

    def __repr__(self) -> str:
        return f"<{', '.join(map(str, self._hosts))}>"

    async def connect(self, seconds: float, /) -> Connection:
        """Return a new connection; raises ``BackendUnavailable`` that says why each host fails."""
        problems: list[str] = []
        until = time.monotonic() + seconds
        hosts = sorted(self._hosts, key=lambda host: host != self._good)  # else in their order
        for number, host in enumerate(hosts):
            share = max((until - time.monotonic()) / (len(hosts) - number), HOST_SECONDS)
            try:
                connection = await self._connect(host, share)
            except FAILURES as error:
                problems.append(f"postgres at {host} cannot be used: {explained(error, share)}")
            except BackendUnavailable as error:
                problems.append(str(error))
            else:
                self._good = host
                return connection
        raise BackendUnavailable("; ".join(problems))

    async def _connect(self, host: Host, seconds: float) -> Connection:
        where: dict[str, Any] = {} if host.host is None else {"host": host.host, "port": host.port}
        options = {"timeout": seconds, **self._options, **where}
        raw = await _finished(connect(dsn=self._url, **options))
        return Connection(asyncio.get_running_loop(), raw, f"postgres at {host}")


class PoolSource:
    """Borrows connections from the application's pool, for as long as they live."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._loop: asyncio.AbstractEventLoop | None = getattr(pool, "_loop", None)

    def __repr__(self) -> str:
        return "<a pool>"

    async def connect(self, seconds: float, /) -> Connection:
        """Return a connection of the pool; raises ``BackendUnavailable``."""
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise BackendUnavailable(
                "the asyncpg pool belongs to another event loop; give the layer a url instead"
            )
        try:
            raw = await self._pool.acquire(timeout=seconds)
        except FAILURES as error:
            text = f"the pool has no connection: {explained(error, seconds)}"
            raise BackendUnavailable(text) from None
        return Connection(loop, raw, "postgres, by a pool", self._pool.release)


async def _finished(connecting: Coroutine[Any, Any, Raw]) -> Raw:
    """Return the connection. Who is cancelled waits a little for its end: asyncpg leaves a future
    with an error behind where it is cancelled in the middle of a start-up."""
    task = asyncio.get_running_loop().create_task(connecting)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=CANCEL_SECONDS)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            task.result().terminate()
        raise
    return task.result()


def parse_hosts(url: str) -> Sequence[Host]:
    """Return the hosts of the URL, in order; raises ``ValueError`` that does not repeat it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("the postgres URL names a host that is none") from None
    if parts.scheme not in SCHEMES:
        raise ValueError(
            f"a postgres URL begins with postgresql://, this one with {parts.scheme!r:.40}"
        )
    if not all("=" in field for field in parts.query.split("&") if parts.query):
        raise ValueError("what follows the ? of a postgres URL has to be name=value, joined by &")
    place = parts.netloc.rpartition("@")[2]
    if not place:
        return [Host(None, None)]
    try:
        return [_host(text) for text in place.split(",")]
    except ValueError:
        if "@" not in f"{parts.path}{parts.query}{parts.fragment}":
            raise
        # Then the place is the begin of a password, which is not to be shown.
        raise ValueError(
            "the hosts of the postgres URL cannot be read; is a character of its password, such as "
            "'/', '?' or '#', not percent-encoded?"
        ) from None


def _host(text: str) -> Host:
    if text.startswith("["):
        name, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        name, _, port = text.partition(":")
    if not name:
        raise ValueError(f"a host of the postgres URL has no name: {text!r}")
    if port and not (port.isdigit() and 0 < int(port) < 65_536):
        raise ValueError(f"port {port!r} of host {name!r} must be a number from 1 to 65535")
    return Host(unquote(name), int(port) if port else DEFAULT_PORT)


def explained(error: BaseException, seconds: float) -> str:
    """Return in words why a connection was not made; never a password."""
    if isinstance(error, NotPrimary):
        return (
            "it is a read-only replica, where NOTIFY does not work, or not what the URL's "
            "target_session_attrs ask for; name the primary"
        )
    if isinstance(error, InternalClientError):
        return "it went away in the middle of connecting"
    if isinstance(error, TimeoutError):
        return f"it did not answer within {seconds:.2g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message or error}"
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return "a file is not there that sslrootcert, sslcert, sslkey or sslcrl names"
    return str(error) or type(error).__name__
