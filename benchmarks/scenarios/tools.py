"""The brokers' own tools, for orientation: what the server takes, without Python.

redis-benchmark publishes messages of 100 bytes from 64 connections, one at a time each, then 16 in
a pipeline; pgbench runs ``SELECT pg_notify(...)`` on 8 connections. Nobody listens.
"""

import csv
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.launch.brokers import Broker
from benchmarks.scenarios import Plan
from benchmarks.sides import Entry

PLAN = Plan(
    title="The brokers' own tools",
    unit="messages",
    brokers=("redis", "postgres", "rabbitmq", "nats"),
    quick={"seconds": 1.0, "messages": 50_000},
    full={"seconds": 3.0, "messages": 200_000},
    limit=(10.0, 20.0),
    budget=(5.0, 20.0),
    rounds=1,
    roles=("tool",),
)
TEXT = "x" * 100


def collect(
    run: Any, name: str, plan: Plan, broker: Broker, sides: list[Entry], until: float
) -> None:
    """Run the broker's tool."""
    parameters = run.result.scenarios[name]["parameters"]
    for entry in sides:
        before = broker.counters()
        try:
            rates = TOOLS[entry.name](broker, parameters, run.limit(plan))
        except subprocess.TimeoutExpired:
            run.cannot(name, "", entry.name, f"not measured within {run.limit(plan):g} s")
            continue
        except (OSError, subprocess.SubprocessError) as error:
            run.cannot(name, "", entry.name, str(error)[:200])
            continue
        cpu = broker.counters()["cpu"] - before["cpu"]
        for case, (rate, messages) in rates.items():
            measures = {"rate": rate}
            if len(rates) == 1:
                measures["broker_cpu_us"] = cpu / messages * 1e6
            run.measured(name, {"side": entry.name, "case": case, "measures": measures})


def redis_benchmark(
    broker: Broker, parameters: dict[str, Any], limit: float
) -> dict[str, tuple[float, int]]:
    """Return messages a second, by case, and how many there were."""
    rates: dict[str, tuple[float, int]] = {}
    for depth in (1, 16):
        command = ["redis-benchmark", "-p", str(urlsplit(broker.url).port), "-c", "64"]
        command += ["-P", str(depth), "-n", str(parameters["messages"]), "--csv"]
        done = run_tool([*command, "PUBLISH", "room", TEXT], limit)
        *_, (_, rate, *_) = csv.reader(done.splitlines())
        case = "64 connections" + (f", {depth} at a time" if depth > 1 else "")
        rates[case] = float(rate), parameters["messages"]
    return rates


def pgbench(
    broker: Broker, parameters: dict[str, Any], limit: float
) -> dict[str, tuple[float, int]]:
    """Return transactions a second, and how many there were."""
    from tests.postgres.servers import binaries

    place = urlsplit(broker.url)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "notify.sql")
        script.write_text(f"SELECT pg_notify('room', '{TEXT}');\n")
        seconds = max(1, round(parameters["seconds"]))
        command = [str(binaries() / "pgbench"), "-n", "-f", str(script), "-M", "prepared"]
        command += ["-c", "8", "-j", "2", "-T", str(seconds), "-h", "127.0.0.1"]
        command += ["-p", str(place.port), "-U", str(place.username), place.path.strip("/")]
        done = run_tool(command, limit)
    [line] = [line for line in done.splitlines() if line.startswith("tps = ")]
    rate = float(line.split()[2])
    return {"8 connections": (rate, round(rate * seconds))}


def run_tool(command: list[str], limit: float) -> str:
    """Return what a tool prints."""
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=limit)
    return done.stdout


TOOLS = {"redis-benchmark": redis_benchmark, "pgbench": pgbench}
