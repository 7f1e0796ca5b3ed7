"""Draws a result: ``benchmarks.report.plots RESULT FOLDER [NAME ...]``, where matplotlib is.

What is drawn depends on the result alone: the same JSON gives the same bytes.
"""

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot  # its backend comes first
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image

from benchmarks.report import model
from benchmarks.report.growth import measured
from benchmarks.report.tables import number
from benchmarks.results import Result, Row, read

COLOURS: Final = {
    "ours": "#1769aa",
    "history": "#7db3dd",
    "peer": "#c98f4e",
    "driver": "#8a8f98",
    "floor": "#c3c7cd",
}
NAMES: Final = {
    "ours": "Fast Channels",
    "history": "Fast Channels, with a history",
    "peer": "another library",
    "driver": "the plain driver",
    "floor": "a bare floor, without a library's duties",
}
COLOURS_AT_MOST: Final = 96
BELOW: Final = 0.5
"""Inches from an axis to the legend: its numbers and its label are between."""
PEERS: Final = {
    "channels_redis core": "#8c564b",
    "channels_": "#c98f4e",
    "Django Channels": "#c98f4e",
    "fast-channels 1.1": "#2a9d8f",
    "Litestar streams": "#6a4c93",
    "Litestar psycopg": "#6a4c93",
    "Litestar": "#b5446e",
    "broadcaster": "#90a955",
    "python-socketio": "#e9c46a",
}
"""A library's colour in every panel, by the beginning of its label."""
ARRIVED, TOLD, SILENT = "#5a9367", "#e9c46a", "#c1121f"
BROKERS: Final = {
    "redis": "#c1121f",
    "nats": "#2a9d8f",
    "postgres": "#1769aa",
    "rabbitmq": "#e08e2b",
}
COLUMNS: Final = 2
"""Panels side by side, each with its legend to the right."""
LINEAR: Final = 30.0
"""Bars whose largest is at most so many times the smallest are drawn from 0, others by powers."""
STYLE: Final = {
    "figure.dpi": 110,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "axes.axisbelow": True,
    "svg.hashsalt": "fast-channels",
}


def main() -> int:
    """Draw what is named, by default everything that the result has figures for."""
    result, folder, names = read(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3:]
    folder.mkdir(parents=True, exist_ok=True)
    for old in () if names else folder.glob("*.png"):
        old.unlink()
    with pyplot.rc_context(STYLE):
        for name in names or PLOTS:
            figure = PLOTS[name](result)
            if figure is not None:
                path = folder / f"{name}.png"
                drawn = io.BytesIO()
                figure.savefig(drawn, format="png", bbox_inches="tight")
                pyplot.close(figure)
                # A palette makes it a third as large; nothing but the picture is in the file.
                few = Image.open(drawn).convert("RGB").quantize(COLOURS_AT_MOST)
                few.save(path, optimize=True)
                print(path)
    return 0


def better(measure: str) -> str:
    """Return which figures are the better ones."""
    return "more" if measure in ("rate", "arrived") else "less"


def kind(result: Result, row: Row) -> str:
    """Return what decides a row's colour."""
    side = result.side(row.side)
    return "history" if "history" in side["label"] else str(side["role"])


def sorted_rows(result: Result, scenario: str, measure: str) -> list[Row]:
    """Return the rows that have the measure, by broker, in the order of the sides."""
    names = [side["name"] for side in result.sides]
    order = list(model.TITLES)
    rows = [row for row in result.of(scenario) if row.measures.get(measure)]
    return sorted(
        rows, key=lambda r: (order.index(result.side(r.side)["broker"]), names.index(r.side))
    )


def bars(
    scenario: str, case: str, measure: str, title: str, label: str, scale: float = 1.0
) -> Callable[[Result], Any]:
    """Return what draws one case as bars, a group for each broker."""

    def draw(result: Result) -> Any:
        rows = [row for row in sorted_rows(result, scenario, measure) if row.case == case]
        if not rows:
            return None
        figure, axes = pyplot.subplots(figsize=(8.2, 0.6 + 0.27 * (len(rows) + 4)))
        place, last = 0.0, ""
        places: list[float] = []
        labels: list[str] = []
        largest = max((row.middle(measure) or 0.0) * scale for row in rows)
        for row in rows:
            side = result.side(row.side)
            if side["broker"] != last and last:
                place += 0.6
            last = side["broker"]
            values = [value * scale for value in row.measures[measure]]
            middle = (row.middle(measure) or 0.0) * scale
            lossy = row.lost > 0.001
            axes.barh(
                place, middle, color=COLOURS[kind(result, row)], height=0.78,
                hatch="////" if lossy else None, edgecolor="white" if lossy else "none",
            )  # fmt: skip
            axes.plot([min(values), max(values)], [place, place], color="#30343a", linewidth=1)
            text = f" {number(middle)}" + (f", lost {row.lost:.0%}" if lossy else "")
            axes.text(max(*values, middle), place, text, va="center", fontsize=8)
            labels.append(f"{model.TITLES[side['broker']]} · {side['label']}")
            places.append(place)
            place += 1
        axes.set_yticks(places, labels)
        axes.set_ylim(place - 0.4, -0.6)
        smallest = min((row.middle(measure) or 0.0) * scale for row in rows)
        shown = label
        if largest > LINEAR * smallest:
            shown = f"{label}, logarithmic"
            axes.set_xscale("log")
            axes.set_xlim(right=largest * 4)
        else:
            axes.set_xlim(0, largest * 1.2)
        axes.xaxis.set_major_formatter(lambda value, _: number(value))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(f"{shown} ({better(measure)} is better)")
        axes.set_title(title, loc="left", fontweight="bold")
        axes.grid(False, axis="y")
        kinds = dict.fromkeys(kind(result, row) for row in rows)
        legend = [Patch(color=COLOURS[each], label=NAMES[each]) for each in kinds]
        if any(row.lost > 0.001 for row in rows):
            lossy_bar = {"facecolor": "#999", "hatch": "////", "edgecolor": "white"}
            legend.append(Patch(**lossy_bar, label="lost some"))
        legend_below(axes, legend)
        return figure

    return draw


def legend_below(axes: Any, handles: Sequence[Any]) -> None:
    """Add the legend, below the label of the axis whatever the figure's height is."""
    figure = axes.get_figure()
    figure.canvas.draw()
    height = axes.get_position().height * figure.get_figheight()
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.3, -BELOW / height), ncols=3,
        frameon=False, fontsize=8,
    )  # fmt: skip


def curves(scenario: str, measure: str, title: str, x: str, y: str) -> Callable[[Result], Any]:
    """Return what draws a measure against what the cases differ in, a panel for each broker."""

    def draw(result: Result) -> Any:
        rows = [row for row in sorted_rows(result, scenario, measure) if row.x is not None]
        brokers = list(dict.fromkeys(result.side(row.side)["broker"] for row in rows))
        if not rows:
            return None
        lines = -(-len(brokers) // COLUMNS)
        figure, grid = pyplot.subplots(
            lines, COLUMNS, figsize=(5.6 * COLUMNS, 2.9 * lines), sharey=True, squeeze=False
        )
        panels = list(grid.flat)
        for panel, broker in zip(panels, brokers, strict=False):
            sides = dict.fromkeys(r.side for r in rows if result.side(r.side)["broker"] == broker)
            one_panel(panel, result, [[r for r in rows if r.side == s] for s in sides], measure)
            panel.set_title(model.TITLES[broker], loc="left", fontsize=9)
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.set_xticks(sorted({row.x or 0.0 for row in rows}))
            for axis in (panel.xaxis, panel.yaxis):
                axis.set_major_formatter(lambda value, _: number(value))
                axis.set_minor_formatter(NullFormatter())
            panel.tick_params(labelleft=True)
            panel.set_xlabel(x)
        for panel in panels[len(brokers) :]:
            panel.set_visible(False)
        figure.suptitle(
            f"{title}, {y} ({better(measure)} is better)", x=0.01, ha="left", fontweight="bold"
        )
        figure.tight_layout()
        return figure

    return draw


def one_panel(panel: Any, result: Result, sides: Sequence[list[Row]], measure: str) -> None:
    """Draw a line for each side."""
    for rows in sides:
        what, label = kind(result, rows[0]), result.side(rows[0].side)["label"]
        of_peer = (PEERS[begin] for begin in PEERS if label.startswith(begin))
        colour = next(of_peer, "#444444") if what == "peer" else COLOURS[what]
        rows.sort(key=lambda row: row.x or 0)
        panel.plot(
            [row.x for row in rows],
            [row.middle(measure) for row in rows],
            color=colour,
            linewidth=2.4 if what == "ours" else 1.2,
            linestyle="--" if what in ("floor", "driver") else "-",
            marker="o",
            markersize=3,
            zorder=3 if what == "ours" else 2,
            label=label,
        )
        lossy = [row for row in rows if row.lost > 0.001]
        panel.plot(
            [row.x for row in lossy], [row.middle(measure) for row in lossy],
            "x", color="#c1121f", markersize=7, zorder=4,
        )  # fmt: skip
    lines = panel.get_legend_handles_labels()[0]
    if any(row.lost > 0.001 for rows in sides for row in rows):
        lines.append(Line2D([], [], color="#c1121f", marker="x", linestyle="", label="lost some"))
    panel.legend(
        handles=lines, fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5)
    )


def burst(result: Result) -> Any:
    """Draw how much of a burst arrives, and whether anybody was told of the rest."""
    rows = sorted_rows(result, "burst", "arrived")
    if not rows:
        return None
    figure, axes = pyplot.subplots(figsize=(8.2, 0.6 + 0.27 * (len(rows) + 4)))
    labels: list[str] = []
    places: list[float] = []
    place, last = 0.0, ""
    for row in rows:
        side, part = result.side(row.side), row.middle("arrived") or 0.0
        place += 0.6 if last not in ("", side["broker"]) else 0.0
        last = side["broker"]
        axes.barh(place, part, color=ARRIVED, height=0.78)
        axes.barh(place, 1 - part, left=part, color=TOLD if row.told else SILENT, height=0.78)
        labels.append(f"{model.TITLES[last]} · {side['label']}")
        places.append(place)
        place += 1
    axes.set_yticks(places, labels)
    axes.set_ylim(place - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("of 1,000 messages to a member that is busy meanwhile")
    axes.grid(False, axis="y")
    axes.set_title(result.scenarios["burst"]["title"], loc="left", fontweight="bold")
    legend = {ARRIVED: "arrived", TOLD: "lost, and told", SILENT: "lost silently"}
    legend_below(axes, [Patch(color=colour, label=text) for colour, text in legend.items()])
    return figure


def growth(result: Result) -> Any:
    """Draw what the model says of a broker's load as processes are added."""
    found = measured(result)
    if not found:
        return None
    each = model.CONNECTIONS // model.PROCESSES
    counts = (1, 2, 5, 10, 20, 50, 100)
    names = [workload.name for workload in model.workloads(1)]
    figure, panels = pyplot.subplots(1, len(names), figsize=(3.5 * len(names), 3.3), sharey=True)
    for index, (panel, name) in enumerate(zip(panels, names, strict=True)):
        for broker, costs in found.items():
            loads = [
                model.needs(costs, 0.0, model.workloads(count * each)[index], count).broker
                for count in counts
            ]
            label, colour = model.TITLES[broker], BROKERS[broker]
            panel.plot(counts, loads, marker="o", markersize=3, label=label, color=colour)
        panel.axhline(1.0, color="#30343a", linewidth=1, linestyle=":")
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks(counts)
        panel.yaxis.set_major_locator(LogLocator(numticks=12))
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(lambda value, _: number(value))
            axis.set_minor_formatter(NullFormatter())
        panel.set_title(name, loc="left", fontsize=8)
        panel.set_xlabel(f"processes of {each:,} connections")
    panels[0].set_ylabel("cores of the broker (dotted: one)")
    panels[0].legend(fontsize=8, frameon=False)
    figure.suptitle("The broker's load, computed", x=0.01, ha="left", fontweight="bold")
    figure.tight_layout()
    return figure


US = "microseconds"
PLOTS: Final[dict[str, Callable[[Result], Any]]] = {
    "group-size": curves(
        "group_size", "rate", "Fan-out in one process", "members of the group",
        "deliveries a second",
    ),
    "group-size-cpu": curves(
        "group_size", "cpu_us", "CPU of the process for each delivery", "members of the group", US
    ),
    "senders": bars(
        "senders", "64 senders", "rate", "64 concurrent senders to one group", "messages a second"
    ),
    "two-processes": bars(
        "two_processes", "N=100, at most 50 undelivered", "rate",
        "From one process to 100 readers in another", "deliveries a second",
    ),
    "latency": curves(
        "latency", "p50_us", "Latency from one process to another, median",
        "messages a second", US,
    ),
    "lone": bars("lone", "one at a time", "p50_us", "A lone message, from send to arrival", US),
    "many-groups": bars(
        "many_groups", "64 senders", "rate", "Many groups of two, 64 senders", "deliveries a second"
    ),
    "joins": bars(
        "joins", "distinct groups, 64 at once", "rate",
        "Joins into groups of their own, 64 at once", "joins a second",
    ),
    "footprint": bars(
        "footprint", "same group", "bytes", "Memory of a waiting member", "KiB", 1 / 1024
    ),
    "idle": bars(
        "idle", "idle", "bytes", "Memory of an idle WebSocket connection", "KiB", 1 / 1024
    ),
    "websockets": bars(
        "websockets", "500 clients, websockets-sansio", "cpu_us",
        "A broadcast to 500 WebSocket clients", "microseconds of the server's CPU for a delivery",
    ),
    "websockets-5000": bars(
        "websockets", "5,000 clients, websockets-sansio", "cpu_us",
        "A broadcast to 5,000 WebSocket clients", "microseconds of the server's CPU for a delivery",
    ),
    "burst": burst,
    "growth": growth,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
