"""The result of a run as JSON: what it holds, how it is written and read.

``SCHEMA`` describes every field; ``check`` refuses what does not fit it. A measure is a list with a
value for each round, so that whoever reads a result can take the middle and the spread, and ratios
of values that were measured in turn.
"""

import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

VERSION: Final = 1

MEASURES: Final = {
    "rate": "of the scenario's unit for each second of wall time",
    "cpu_us": "CPU microseconds of the measured Python process for each of the unit",
    "sender_cpu_us": "CPU microseconds of another, sending process for each message",
    "broker_cpu_us": "CPU microseconds of the broker's processes for each of the unit",
    "broker_messages": "messages that the broker counted, for each message sent",
    "lost": "of the unit that never arrived",
    "expected": "of the unit that should have arrived",
    "p50_us": "median latency in microseconds",
    "p99_us": "99th percentile of the latency in microseconds",
    "bytes": "resident bytes for each member or connection",
    "arrived": "the part of a burst that arrived, 0 to 1",
}
"""What a row may have, by name."""

SCHEMA: Final[dict[str, Any]] = {
    "schema": "the version of this description",
    "mode": "quick or full",
    "at": "when the run began, UTC",
    "seconds": "how long it took",
    "machine": {
        "system": "operating system",
        "python": "version of Python, the same for all libraries",
        "processor": "its name",
        "cores": "how many",
        "memory_gib": "how much",
        "load": "load average as each scenario began; the run itself makes up to 1 for each core",
    },
    "versions": {"servers": "by broker", "libraries": "by environment, then by distribution"},
    "sides": "what was compared: name, label, broker, role, environment, other_promise (what it "
    "does not promise and we do, with the scenarios in which that counts; none: in all)",
    "scenarios": "by name: title, unit, figure, lower_is_better, rounds, seconds, parameters, what",
    "rows": "scenario, case, x, side, measures (lists by name), told, reason",
    "targets": "scenario, case, ours, against, ratio, spread, at_least or at_most, met, why",
}


@dataclass
class Row:
    """One case of one side, all rounds of it."""

    scenario: str
    case: str
    side: str
    x: float | None = None
    measures: dict[str, list[float]] = field(default_factory=dict)
    told: str = ""
    """How a library tells of what it lost."""

    reason: str = ""
    """Why it was not measured, or not as it should be."""

    def middle(self, measure: str) -> float | None:
        """Return the median of the rounds, None where there is none."""
        values = self.measures.get(measure)
        return median(values) if values else None

    @property
    def lost(self) -> float:
        """The part that never arrived, of all rounds."""
        expected = sum(self.measures.get("expected", ()))
        return sum(self.measures.get("lost", ())) / expected if expected else 0.0


@dataclass
class Result:
    """Everything of one run."""

    mode: str
    at: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    seconds: float = 0.0
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=lambda: {"servers": {}, "libraries": {}})
    sides: list[dict[str, Any]] = field(default_factory=list)
    scenarios: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    targets: list[dict[str, Any]] = field(default_factory=list)

    def row(self, scenario: str, case: str, side: str, x: float | None = None) -> Row:
        """Return the row, which is made if it is not there."""
        for row in self.rows:
            if (row.scenario, row.case, row.side) == (scenario, case, side):
                return row
        row = Row(scenario, case, side, x)
        self.rows.append(row)
        return row

    def of(self, scenario: str) -> list[Row]:
        """Return the scenario's rows."""
        return [row for row in self.rows if row.scenario == scenario]

    def forget(self, scenario: str) -> None:
        """The scenario was not run."""
        self.rows = [row for row in self.rows if row.scenario != scenario]
        self.scenarios.pop(scenario, None)

    def side(self, name: str) -> dict[str, Any]:
        """Return what is known of a side."""
        return next(side for side in self.sides if side["name"] == name)

    def as_dict(self) -> dict[str, Any]:
        """Return it as ``SCHEMA`` says."""
        whole = {"schema": VERSION, **asdict(self)}
        whole["rows"] = [dict(compact(row)) for row in self.rows]
        return whole

    def write(self, path: Path) -> None:
        """The file holds it, or what it held before."""
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = self.as_dict()
        check(whole)
        rows = [json.dumps(row) for row in whole.pop("rows")]
        text = json.dumps(whole, indent=1)[:-2] + ',\n "rows": [\n  '
        text += ",\n  ".join(rows) + "\n ]\n}\n"
        beside = path.with_suffix(".part")
        beside.write_text(text)
        beside.replace(path)


def compact(row: Row) -> Iterator[tuple[str, Any]]:
    """Yield what a row has, in order; numbers with four digits."""
    for name, value in asdict(row).items():
        if name == "measures":
            yield name, {key: [float(f"{v:.4g}") for v in values] for key, values in value.items()}
        elif value or name not in ("x", "told", "reason"):
            yield name, value


def read(path: Path) -> Result:
    """Return what the file holds; raises ``ValueError`` if it is no result."""
    whole = json.loads(path.read_text())
    check(whole)
    del whole["schema"]
    whole["rows"] = [Row(**row) for row in whole["rows"]]
    return Result(**whole)


def check(whole: Any) -> None:
    """Raise ``ValueError`` that says what does not fit ``SCHEMA``."""
    if not isinstance(whole, dict) or whole.get("schema") != VERSION:
        raise ValueError(f"a result of schema {VERSION} is wanted; run: make bench")
    if unlike := set(SCHEMA) ^ set(whole):
        raise ValueError(f"a result has {', '.join(SCHEMA)}; too many or missing: {sorted(unlike)}")
    sides = {side["name"] for side in whole["sides"]}
    for row in whole["rows"]:
        where = f"row {row.get('scenario')}/{row.get('case')}/{row.get('side')}"
        if row["scenario"] not in whole["scenarios"]:
            raise ValueError(f"{where}: no such scenario")
        if row["side"] not in sides:
            raise ValueError(f"{where}: no such side")
        if unknown := set(row["measures"]) - set(MEASURES):
            raise ValueError(f"{where}: unknown measures {sorted(unknown)}")
        if not row["measures"] and not row.get("reason"):
            raise ValueError(f"{where}: neither measured nor a reason why not")


def machine() -> dict[str, Any]:
    """Return what this is run on."""
    processor = platform.processor() or platform.machine()
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "processor": processor,
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30),
        "load": {},
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
