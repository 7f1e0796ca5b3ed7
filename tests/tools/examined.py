"""Runs ``fast-channels doctor`` and returns what it found, as its JSON tells it."""

import json
from typing import Any

from .commands import here

SECRET = "correct-horse-7"
"""A password that the command must never tell."""


def examined(*arguments: str, status: int = 1) -> dict[str, Any]:
    """Return the checks by name, after the command has ended so."""
    patient = () if "--timeout" in arguments else ("--timeout", "15")
    done = here("doctor", "--json", *arguments, *patient)
    assert SECRET not in done.stdout + done.stderr
    assert "kit-secret" not in done.stdout + done.stderr
    assert (done.returncode, done.stderr) == (status, ""), done
    report = json.loads(done.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    counts = [check["status"] for check in checks.values()]
    assert [report[each] for each in ("ok", "warn", "fail")] == [
        counts.count(each) for each in ("ok", "warn", "fail")
    ]
    for check in checks.values():
        assert bool(check["advice"]) == (check["status"] != "ok"), check
    return checks


def failed(checks: dict[str, Any]) -> list[str]:
    return [name for name, check in checks.items() if check["status"] == "fail"]
