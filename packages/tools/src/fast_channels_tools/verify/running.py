"""Runs the kit's clauses by pytest, inside this process, with nothing of pytest to be seen."""

import os
import re
import tempfile
from pathlib import Path
from typing import Any, Final

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fast_channels_tools.loading import CommandError

from .report import Result
from .target import Target

CLAUSES: Final = "fast_channels_tools.verify.clauses"

WORDS: Final = {
    r"Test\w+\.capabilities has no \"(\w+)\"": r"it has no \1",
    r"Test\w+\.secret is None: .*": "its URL has no password",
    r"Test\w+\.order_across_topics is False": "--order-per-topic was given",
    r"redelivers is False.*": "--redelivers was not given: a job may be lost with its worker",
    r"exact_history is False": "its histories are not exact",
}
"""What the kit says to who writes a test class, as the command says it."""

_targets: list[Target] = []


def current_target() -> Target:
    """Return what is being verified."""
    return _targets[-1]


def run(target: Target, only: str, console: Console) -> list[Result]:
    """Return how each clause ended; progress is shown on the console if it is a terminal."""
    columns = (
        TextColumn("verifying"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[clause]}"),
    )
    with (
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar,
        tempfile.TemporaryDirectory() as folder,
    ):
        recorder = Recorder(bar)
        settings = Path(folder, "pytest.ini")
        settings.write_text("[pytest]\n")  # neither the user's settings nor their plugins
        arguments = ["--pyargs", CLAUSES, "-c", str(settings), f"--rootdir={folder}"]
        arguments += ["--disable-plugin-autoload", "--capture=sys", "--import-mode=importlib"]
        arguments += ["-p", "no:terminal", "-p", "no:cacheprovider", "-k", only]
        added = os.environ.pop("PYTEST_ADDOPTS", None)
        _targets.append(target)
        try:
            status = pytest.main(arguments, plugins=[recorder])
        finally:
            _targets.pop()
            if added is not None:
                os.environ["PYTEST_ADDOPTS"] = added
    if status not in (0, 1, 5):
        raise CommandError("the verification was interrupted", status=1)
    return recorder.results


class Recorder:
    """A pytest plugin that remembers how each clause ended."""

    def __init__(self, bar: Progress) -> None:
        self.results: list[Result] = []
        self._bar = bar
        self._task = bar.add_task("", total=None, clause="")
        self._items: dict[str, pytest.Function] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """The number of clauses is known."""
        items = [item for item in session.items if isinstance(item, pytest.Function)]
        self._items = {item.nodeid: item for item in items}
        self._bar.update(self._task, total=len(items))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A clause begins."""
        self._bar.update(self._task, clause=_sentence(self._items[nodeid].name))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A part of a clause has ended; what fails outside the clause itself counts, too."""
        if report.when == "call" or report.outcome != "passed":
            self.results.append(_result(self._items[report.nodeid], report))
        if report.when == "teardown":
            self._bar.advance(self._task)


def _result(item: pytest.Function, report: pytest.TestReport) -> Result:
    bases: list[type] = item.cls.__mro__ if item.cls else []
    [subject, *_] = [base.__name__ for base in bases if item.name in vars(base)]
    words = re.findall("[A-Z][a-z]*", re.sub("(Clauses|Suite|Tests)$", "", subject))
    doc = " ".join((item.obj.__doc__ or "").split()).replace("``", "`")
    promise, _, cause = doc.partition("Usual cause: ")
    result = Result(
        suite="layer" if (item.cls and item.cls.__name__ == "TestLayer") else "backend",
        subject=" ".join(words).lower().removeprefix("layer "),
        clause=_sentence(item.name),
        promise=promise.strip(),
        usual_cause=cause.strip(),
    )
    crash: Any = getattr(report.longrepr, "reprcrash", None)
    if report.outcome == "skipped":
        result.outcome = "not claimed"
        parts: Any = report.longrepr
        reason = str(parts[2]).removeprefix("Skipped: ")
        for ours, theirs in WORDS.items():
            reason = re.sub(ours, theirs, reason)
        result.reason = reason
    elif report.outcome == "failed":
        result.outcome = "failed"
        result.reason = str(crash.message if crash is not None else report.longreprtext)
    return result


def _sentence(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")
