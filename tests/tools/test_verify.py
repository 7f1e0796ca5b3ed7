"""``fast-channels verify``: the kit against a broker that runs, and a report one can read."""

import json
import sys
from pathlib import Path

import pytest

from fast_channels_tools.command import main

from .commands import on_a_terminal, run
from .strangers import install

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with layers of strangers."""
    folder = tmp_path_factory.mktemp("site")
    layers = {
        "deaf": "Deaf",
        "whole": "Whole",
        "nothing": "nothing",
        "plain": "Plain",
        "choosy": "Choosy",
    }
    install(folder, "fc_layers", layers)
    return folder


def test_a_layer_that_keeps_its_promises_passes() -> None:
    done = run("verify", "memory://", "--only", "order or queue or outage")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("memory://: fast-channels ")
    assert lines[0].endswith(", with groups, presence, history, queues")
    assert "clauses: verify does not stop the broker" in done.stdout
    assert " passed, 0 failed, " in lines[-1]
    assert int(lines[-1].split()[0]) > 10


def test_a_broken_promise_is_shown_with_its_usual_cause(site: Path) -> None:
    done = run("verify", "deaf://host", "--only", "reaches_another", "--patience", "0.5", site=site)
    assert done.returncode == 1
    assert "Failed: what one process publishes reaches another" in done.stdout
    assert "  usual cause: nothing is received, or the topic is mapped differently" in done.stdout
    assert "  here: AssertionError: payload 1 of topic " in done.stdout
    assert "0 passed, 1 failed, 0 not claimed" in done.stdout


def test_programs_get_the_report_as_json(site: Path) -> None:
    done = run(
        "verify", "deaf://ann:hunter2@host", "--json", "--patience", "0.5", "--only", "whatever or "
        "test_the_declared or reaches_another or an_outage_is_one_gap", site=site
    )  # fmt: skip
    assert done.returncode == 1
    assert "hunter2" not in done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["url"] == "deaf://ann:***@host"
    assert report["layer"] == "fc_layers 1.0"
    assert report["powers"] == ["groups", "presence"]
    assert (report["failed"], report["not_claimed"]) == (1, 1)
    [failed] = [each for each in report["clauses"] if each["outcome"] == "failed"]
    assert failed["clause"] == "what one process publishes reaches another"
    assert failed["usual_cause"].startswith("nothing is received")
    [unclaimed] = [each for each in report["clauses"] if each["outcome"] == "not claimed"]
    assert unclaimed["reason"] == "verify does not stop the broker"


def test_the_applications_prefix_and_options_reach_every_layer(site: Path) -> None:
    options = '{"token": "hunter2"}'
    done = run(
        *("verify", "choosy://host", "--only", "reaches_another or other_prefixes", "--json"),
        *("--prefix", "shop", "--options", options),
        site=site,
    )
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert (report["prefix"], report["passed"], report["failed"]) == ("shop", 2, 0)
    without = run("verify", "choosy://host", "--options", options, "--json", site=site)
    assert without.returncode == 2
    assert without.stderr == f"fast-channels: {json.loads(without.stdout)['error']}\n"
    assert "may not use fc" in without.stderr


def test_a_layer_without_a_backend_is_verified_from_above(site: Path) -> None:
    done = run("verify", "whole://host", "--json", "--only", "queue or declared", site=site)
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    assert report["powers"] == ["groups", "presence", "queues"]
    assert {each["suite"] for each in report["clauses"]} == {"layer"}


@pytest.mark.parametrize(
    ("url", "status", "error"),
    [
        ("rdis://localhost", 2, "no layer named 'rdis'; installed: "),
        ("nothing://host", 2, "layer 'nothing' (fc_layers 1.0) returned None, which is no channel"),
        ("redis://127.0.0.1:1/0", 1, "nothing was verified: "),
        ("memory:// --prefix " + 41 * "x", 2, f"the prefix '{41 * 'x'}' has 41 characters"),
        ("memory:// --options []", 2, "--options must be a JSON object"),
    ],
)
def test_what_cannot_be_verified_is_one_line(
    url: str,
    status: int,
    error: str,
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(sys, "argv", ["fast-channels", "verify", *url.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (status, "", 1)
    assert err.startswith(f"fast-channels: {error}")


def test_no_clause_of_that_name_is_an_error() -> None:
    done = run("verify", "memory://", "--only", "no_such_clause")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fast-channels: no clause has 'no_such_clause' in its name\n"


def test_a_terminal_gets_a_progress_bar() -> None:
    shown = on_a_terminal("verify", "memory://", "--only", "declared or joining_is_complete")
    assert "verifying" in shown
    assert "/5" in shown
    assert " passed, 0 failed, " in shown.splitlines()[-1]


@pytest.mark.long
def test_options_and_plugins_of_the_users_pytest_have_no_say() -> None:
    options = {"PYTEST_ADDOPTS": "--collect-only", "PYTEST_PLUGINS": ""}
    done = run("verify", "memory://", "--only", "empty_payload", **options)
    assert "1 passed, 0 failed, 0 not claimed" in done.stdout
