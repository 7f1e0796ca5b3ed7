"""The pages of the backends say what it takes to choose and run one, and the code's options."""

import inspect
import re
from dataclasses import MISSING, fields
from typing import Any

import pytest

from fast_channels.layers import LayerOptions
from fast_channels_nats import NatsChannelLayer
from fast_channels_nats.urls import OPTIONS as NATS_OPTIONS
from fast_channels_postgres import PostgresChannelLayer
from fast_channels_rabbitmq import RabbitMQChannelLayer
from fast_channels_rabbitmq.urls import OPTIONS as RABBITMQ_OPTIONS
from fast_channels_redis.hosts import OPTIONS as REDIS_OPTIONS

from .pages import ROOT

SECTIONS = ("When to choose it", "Set-up", "Options", "TLS", "Limits", "When something breaks")
SERVERS = {
    "redis": "Sentinel, Cluster, several hosts",
    "postgres": "Several servers",
    "rabbitmq": "Clusters",
    "nats": "Clusters",
}
"""What the section is called that is about more than one server."""

ADDRESS = {"host", "port", "path", "db", "username", "password", "ssl"}
"""Options of a Redis host that its URL says, or its scheme."""

MIB = 1_048_576


def page_of(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def rows_of(page: str, section: str) -> dict[str, str]:
    """Return the options in the section's table, and the cell of each one's default."""
    text = re.split(r"^## ", page.partition(f"## {section}\n")[2], flags=re.MULTILINE)[0]
    found: dict[str, str] = {}
    for names, default in re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", text, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            found[name] = default
    return found


def own_options(layer: type) -> dict[str, Any]:
    """Return the keyword arguments that only this layer has, and their defaults."""
    parameters = inspect.signature(layer).parameters.values()
    return {each.name: each.default for each in parameters if each.kind != each.VAR_KEYWORD}


def shown(value: Any) -> str:
    """Return a default as the tables write it."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    whole = isinstance(value, int) and value >= MIB and value % MIB == 0
    return f"{value // MIB} MiB" if whole else f"{value:,.6g}" if value < 1 else f"{value:,.0f}"


def differences(rows: dict[str, str], options: dict[str, Any]) -> list[str]:
    """Return what the table lacks, has too much of, or tells another default of."""
    found = [f"{name} is on one side only" for name in sorted(rows.keys() ^ options.keys())]
    for name in rows.keys() & options.keys():
        value = options[name]
        told = rows[name].replace("`", "")
        if isinstance(value, str | int | float) and shown(value).strip('"') not in told:
            found.append(f"{name} is {shown(value)}, and not {told}")
    return found


@pytest.mark.parametrize("name", SERVERS)
def test_a_page_has_what_one_needs_to_choose_and_to_run_it(name: str) -> None:
    titles = re.findall(r"^## (.*)$", page_of(name), re.MULTILINE)
    assert {*SECTIONS, SERVERS[name]} - set(titles) == set()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("postgres", own_options(PostgresChannelLayer)),
        (
            "rabbitmq",
            {**own_options(RabbitMQChannelLayer), **dict.fromkeys(RABBITMQ_OPTIONS)},
        ),
        ("nats", {**own_options(NatsChannelLayer), **dict.fromkeys(NATS_OPTIONS)}),
        ("redis", dict.fromkeys(set(REDIS_OPTIONS) - ADDRESS)),
    ],
)
def test_the_options_on_a_page_are_those_of_the_layer(name: str, options: dict[str, Any]) -> None:
    servers = {"hosts", "servers"}  # told before, as URLs
    known = {option: default for option, default in options.items() if option not in servers}
    assert not differences(rows_of(page_of(name), "Options"), known)


def test_the_options_of_every_layer_are_those_of_the_code() -> None:
    rows = rows_of(page_of("layers"), "Options")
    known = {
        each.name: None if each.default is MISSING else each.default
        for each in fields(LayerOptions)
        if each.init
    }
    known["gaps"] = None  # layers made by name have other ones than layers made as classes
    assert not differences(rows, known)


# The guard itself.


def test_an_option_that_is_missing_or_other_is_found() -> None:
    rows = {"capacity": "100, 1 MiB", "capacity_bytes": "100, 1 MiB", "prefix": '`"fc"`'}
    options = {"capacity": 100, "capacity_bytes": MIB, "prefix": "fc"}
    assert differences(rows, options) == []
    assert differences(rows, options | {"expiry": 60.0}) == ["expiry is on one side only"]
    assert differences(rows | {"expiry": "6"}, options | {"expiry": 60.0})
    assert differences(rows, options | {"capacity": 99}) == ["capacity is 99, and not 100, 1 MiB"]
