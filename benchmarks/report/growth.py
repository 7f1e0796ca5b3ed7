"""What the model says of large deployments, as Markdown."""

from benchmarks.report import model
from benchmarks.report.tables import markdown, number
from benchmarks.results import Result


def fitted(result: Result) -> str:
    """Return the fitted costs of each broker."""
    headings = [
        "broker",
        "broker's CPU for a message",
        "and for each process that hears it",
        "Python's CPU to send it",
        "and to take it in",
    ]
    lines: list[list[str]] = []
    for broker, found in measured(result).items():
        parts = (found.broker.fixed, found.broker.each, found.python.fixed, found.python.each)
        lines.append([model.TITLES[broker], *(f"{number(part)} µs" for part in parts)])
    text = markdown(headings, lines)
    frame, memory = model.frame(result), model.memory(result)
    if frame is not None and memory is not None:
        text += (
            f"\n\nA frame to a WebSocket client costs its server {number(frame)} µs, an idle "
            f"connection {number(memory / 1024)} KiB."
        )
    return text


def predicted(result: Result) -> str:
    """Return what a large deployment takes, by the model."""
    frame = model.frame(result)
    if frame is None:
        return "Not computed: the cost of a frame to a client was not measured in this run."
    processes, connections = model.PROCESSES, model.CONNECTIONS
    brokers = measured(result)
    headings = [
        f"{connections:,} connections on {processes} processes",
        "messages a second",
        "processes that hear each",
        *(f"{model.TITLES[broker]}, cores" for broker in brokers),
        "each Python process, cores",
    ]
    lines: list[list[str]] = []
    for workload in model.workloads(connections):
        needs = [model.needs(costs, frame, workload, processes) for costs in brokers.values()]
        each = [need.python / processes for need in needs]
        least, most = number(min(each, default=0.0)), number(max(each, default=0.0))
        lines.append(
            [
                workload.name,
                f"{workload.messages:,.0f}",
                f"{workload.heard(processes):.3g}",
                *(number(need.broker) for need in needs),
                least if least == most else f"{least} to {most}",
            ]
        )
    text = markdown(headings, lines)
    if memory := model.memory(result):
        held = memory * connections / processes / 2**20
        text += f"\n\nMemory of each process for its idle connections: {held:,.0f} MiB."
    return text


def measured(result: Result) -> dict[str, model.Costs]:
    """Return the costs of each broker that was measured well enough."""
    found = {broker: model.costs(result, broker) for broker in model.BROKERS}
    return {broker: costs for broker, costs in found.items() if costs}
