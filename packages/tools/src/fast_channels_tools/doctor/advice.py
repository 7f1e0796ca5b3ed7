"""What to do about an error: its words tell which kind it is, the URL names what it is about."""

from typing import Final

from fast_channels_tools.connecting import Place

from .places import PORTS, addresses_of

PAGES: Final = {
    "redis": "docs/redis.md",
    "rediss": "docs/redis.md",
    "valkey": "docs/redis.md",
    "postgres": "docs/postgres.md",
    "postgresql": "docs/postgres.md",
    "rabbitmq": "docs/rabbitmq.md",
    "amqp": "docs/rabbitmq.md",
    "amqps": "docs/rabbitmq.md",
    "nats": "docs/nats.md",
    "tls": "docs/nats.md",
}
"""Where the permissions that a user needs are listed, by the name of the layer up to a ``+``."""

UNKNOWN: Final = ("asks for a password", "asks who we are", "no password supplied")
WRONG: Final = (
    "refused the password",
    "login was refused",
    "refused our credentials",
    "password authentication failed",
    "authorization violation",
    "pg_hba.conf",
)
DENIED: Final = ("noperm", "permission", "access_refused", "not allowed", "privilege", "refused:")
FOREIGN: Final = ("does not speak", "sent what it was not asked for", "in the handshake, not")
SECURITY: Final = ("certificate", "tls", "ssl")
SILENT: Final = ("did not answer", "does not answer", "no answer", "no sign of life")
ABSENT: Final = ("not found", "does not exist")
MISSING: Final = ("vhost", "database", "no such")


def advice_on(error: str, place: Place) -> str:
    """Return the next thing to do, which names the host, the port and the user."""
    text = error.lower()
    where = ", ".join(map(str, addresses_of(place))) or place.shown
    who = f"user {place.user!r}" if place.user else "the user"
    usual = PORTS.get(place.name)
    port = f" ({place.name} is usually at {usual})" if usual else ""

    def says(signs: tuple[str, ...]) -> bool:
        return any(sign in text for sign in signs)

    _, mark, own = error.rpartition("; ")
    if mark and own.startswith("register the layer with"):
        return own
    if says(UNKNOWN):
        return (
            f"write user and password into the URL, {place.name}://user:password@..., as the "
            f"broker at {where} knows them"
        )
    if says(WRONG):
        return (
            f"compare {who} and the password in the URL with what the broker at {where} knows; "
            "in a URL, write special characters of a password as %XX"
        )
    if says(FOREIGN):
        return f"look what listens at {where}, and correct the port{port} or the scheme of the URL"
    if says(SECURITY) and "permission" not in text:
        return (
            f"compare the scheme {place.name!r} and the TLS options with what {where} speaks, and "
            "who has signed its certificate"
        )
    if says(ABSENT):  # some brokers say that it is not allowed to use what is not there
        return f"make that at {where}, or name another one in the URL"
    if says(DENIED):
        page = PAGES.get(place.name.partition("+")[0])
        listed = f"; {page} lists what it needs" if page else ""
        return f"let {who} do that at {where}, for the prefix {place.prefix!r}{listed}"
    if says(SILENT):
        return (
            f"look whether the broker at {where} is overloaded or frozen, or raise --timeout; a "
            f"server of another kind may say nothing, too: compare the port{port}"
        )
    if says(MISSING):
        return f"make that at {where}, or name another one in the URL"
    return f"look into the log of the broker at {where}"
