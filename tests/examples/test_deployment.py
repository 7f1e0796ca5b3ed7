"""The files of the deployment page fit together, and the command of the container serves.

Docker runs on few machines that run tests, and a cluster on fewer, so the files are held against
the schemas of the Compose specification and of Kubernetes, and against each other.
"""

import ast
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import kubernetes_validate
import pytest
import yaml
from tests.redis.servers import SAVING, Server
from tests.redis.servers import running as running_redis
from websockets.sync.client import connect

from fast_channels.layers import ChannelLayerRegistry

from .served import LISTENING, PATIENCE

FOLDER = Path(__file__).parents[2] / "examples" / "deployment"
COMPOSE = sorted(FOLDER.glob("compose.*.yaml"))
APP = (FOLDER / "app.py").read_text(encoding="utf-8")
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")

each_file = pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
pytestmark = pytest.mark.timeout(300)


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def container_command() -> list[str]:
    [command] = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    return [str(word) for word in json.loads(command)]


def seconds_to_stop() -> float:
    """How long the container takes at most: the drain's times, then uvicorn's own."""
    [drain] = re.findall(r"^drain = Drain\((.*)\)$", APP, re.MULTILINE)
    times = [float(each) for each in re.findall(r"=([\d.]+)", drain)]
    command = container_command()
    return sum(times) + float(command[command.index("--timeout-graceful-shutdown") + 1])


def paths_served() -> set[str]:
    return set(re.findall(r'^@app\.get\("([^"]+)"\)', APP, re.MULTILINE))


def test_there_is_a_file_for_each_broker() -> None:
    names = {path.name.split(".")[1] for path in COMPOSE}
    assert names == {"redis", "postgres", "rabbitmq", "nats"}


@each_file
def test_a_compose_file_is_one_by_its_schema(path: Path) -> None:
    check = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [check, "--builtin-schema", "vendor.compose-spec", path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_schema_refuses_what_is_none(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE[0].read_text().replace("depends_on", "depends_upon"))
    with pytest.raises(AssertionError, match="depends_upon"):
        test_a_compose_file_is_one_by_its_schema(wrong)


@each_file
def test_what_a_compose_file_names_is_there(path: Path) -> None:
    content = loaded(path)
    services = content["services"]
    app, broker = services["app"], services["broker"]
    assert path.name in path.read_text().splitlines()[0]
    for name, need in app["depends_on"].items():
        assert need == {"condition": "service_healthy"}
        assert "healthcheck" in services[name]
    for volume in broker["volumes"]:
        assert volume.partition(":")[0] in content["volumes"]
    assert float(app["stop_grace_period"].rstrip("s")) > seconds_to_stop()
    [asked] = re.findall(r"127\.0\.0\.1:8000(/\w+)", str(app["healthcheck"]))
    assert asked in paths_served()


@each_file
def test_the_url_of_a_compose_file_is_one_of_its_broker(path: Path) -> None:
    services = loaded(path)["services"]
    url = re.sub(r"\$\{PASSWORD:\?[^}]*\}", "secret", services["app"]["environment"]["LAYER"])
    parts = urlsplit(url)
    assert parts.hostname == "broker"
    layer = ChannelLayerRegistry().register("default", url)
    assert path.name.split(".")[1] in type(layer).__name__.lower()
    given = services["broker"].get("environment", {}).values()
    assert (parts.username or "app") in {"app", *given}
    assert bool(parts.password) == any("PASSWORD" in str(value) for value in given)


def manifests() -> list[Any]:
    return list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text(encoding="utf-8")))


def test_the_manifests_of_kubernetes_are_such_by_its_schemas() -> None:
    for manifest in manifests():
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    wrong = manifests()[0]
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_the_manifest_of_kubernetes_fits_together() -> None:
    deployment, service = manifests()
    spec = deployment["spec"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == spec["template"]["metadata"]["labels"]
    assert pod["terminationGracePeriodSeconds"] > seconds_to_stop()
    [port] = container["ports"]
    assert str(port["containerPort"]) in container_command()
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in paths_served()
        assert container[probe]["httpGet"]["port"] == port["name"]
    assert container["env"][0]["name"] == "LAYER"
    assert 'os.environ["LAYER"]' in APP
    assert ast.parse(APP)


@pytest.fixture
def redis(tmp_path: Path) -> Generator[Server]:
    """The Redis of its Compose file, on another port."""
    command = loaded(FOLDER / "compose.redis.yaml")["services"]["broker"]["command"]
    assert tuple(command[1:]) == SAVING
    with running_redis(tmp_path, *command[1:]) as server:
        yield server


def test_the_command_of_the_container_serves_and_stops_at_sigterm(redis: Server) -> None:
    copied = re.findall(r"^COPY (\S+) \.$", DOCKERFILE, re.MULTILINE)
    assert copied == ["app.py"]
    command = container_command()
    command[command.index("8000")] = "0"
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=FOLDER,
        env={**os.environ, "LAYER": redis.url, "PYTHONDONTWRITEBYTECODE": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        told = ""
        pattern = LISTENING.pattern.replace(r"127\.0\.0\.1", r"0\.0\.0\.0")
        while not (found := re.search(pattern, told)):
            line = process.stderr.readline()
            assert line, told
            told += line
        address = f"127.0.0.1:{found[1]}"
        for path in paths_served():
            assert httpx.get(f"http://{address}{path}", timeout=PATIENCE).status_code == 200
        with connect(f"ws://{address}/ws", open_timeout=PATIENCE) as socket:
            socket.send('{"text": "hello"}')
            assert json.loads(socket.recv(timeout=PATIENCE)) == {"text": "hello"}
        process.send_signal(signal.SIGTERM)
        told += process.communicate(timeout=PATIENCE)[1]
    finally:
        process.kill()
    assert "Traceback" not in told, told
