"""The dashboard: every query is about metrics, and labels of theirs, that a scrape shows."""

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from tests.waiting import until

from fast_channels import AsyncWebsocketConsumer
from fast_channels.layers import BaseChannelLayer, ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels.testing import WebsocketCommunicator

DASHBOARD: dict[str, Any] = json.loads(
    files("fast_channels_tools").joinpath("grafana.json").read_text("utf-8")
)
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
DOCS = Path(__file__).parents[2] / "docs/observability.md"
METRIC = re.compile(r"\bfast_channels_\w+")


class Telling(InMemoryChannelLayer):
    def stats(self) -> dict[str, int]:
        return {**super().stats(), "notification_queue_percent": 1}


class Served(AsyncWebsocketConsumer):
    channel_layer_alias = None


async def shown(
    layer: BaseChannelLayer, layers: ChannelLayerRegistry, exposed: CollectorRegistry
) -> dict[str, set[str]]:
    """Return the labels of every series of a process that has served somebody."""
    layers.register("telling", Telling())
    await layer.group_send("room", {"type": "x"})
    client = WebsocketCommunicator(Served.as_asgi(), "/")
    await client.connect()
    await client.disconnect()
    await until(lambda: layer.stats()["sent"])
    return {
        sample.name: set(sample.labels) | {"job"}  # Prometheus adds the job
        for family in exposed.collect()
        for sample in family.samples
    }


def queries() -> Iterator[tuple[str, str]]:
    """Yield the title of each panel with each of its queries, and those of the variables."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


async def test_every_query_is_about_metrics_and_labels_that_exist(
    layer: BaseChannelLayer, layers: ChannelLayerRegistry, exposed: CollectorRegistry
) -> None:
    series = await shown(layer, layers, exposed)
    for title, query in queries():
        named = METRIC.findall(query)
        assert named, f"{title}: {query}"
        for name in named:
            assert name in series, f"{title}: nothing shows {name}"
            selected = re.findall(r"(\w+)=~", query)
            grouped = re.findall(r"by \(([^)]*)\)", query)
            labels = {*selected, *(label.strip() for each in grouped for label in each.split(","))}
            assert labels - {""} <= series[name], f"{title}: {query}"


async def test_every_metric_is_in_the_dashboard_and_in_the_documentation(
    layer: BaseChannelLayer, layers: ChannelLayerRegistry, exposed: CollectorRegistry
) -> None:
    series = set(await shown(layer, layers, exposed))
    in_panels = {name for _, query in queries() for name in METRIC.findall(query)}
    assert in_panels == series
    rows = [line for line in DOCS.read_text("utf-8").splitlines() if line.startswith("| `fast_")]
    documented = {name for row in rows for name in METRIC.findall(row)}
    histogram = re.compile(r"_(bucket|sum|count)$")
    assert documented == {histogram.sub("", name) for name in series}


def test_what_legends_show_is_what_queries_leave() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
                assert grouped, panel["title"]
                assert all(label in re.split(r",\s*", each) for each in grouped), panel["title"]


def test_parentheses_match_and_counters_are_looked_at_as_rates() -> None:
    for title, query in queries():
        assert query.count("(") == query.count(")"), title
        for name in METRIC.findall(query):
            if name.endswith(("_total", "_bucket", "_sum", "_count")):
                assert re.search(rf"(rate|increase)\({name}", query), title


def test_panels_have_texts_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
