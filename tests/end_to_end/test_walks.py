"""Pages from top to bottom, as three readers follow them: each command is run, in the page's order.

An app's engineer reads README.md, and who installs a job reads docs/launchd.md (with stand-ins for launchctl,
sudo and an editor, and the job's program started as launchd would); then dashboards/README.md, with a
stand-in for Grafana's API. What cannot be run here is listed with the reason, for these pages and for all
others.
"""

import http.server
import json
import os
import plistlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from tests.support.pages import ROOT, commands
from tests.support.waiting import wait_until

DOCS = ROOT / "docs"

# Commands of these pages that are not run by the walks.
NOT_RUN = {
    "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/excguard demo": (
        "tests/release/test_distributions.py installs; tests/end_to_end/test_demo.py runs the demo"
    ),
    "python3 -m venv .venv-test && .venv-test/bin/pip install '.[test]' && .venv-test/bin/pytest -n 2": (
        ".ci/run ends with it"
    ),
    "sudo apt-get install -y prometheus": ".ci/run installs it",
    "git clone https://github.com/excguard/excguard && cd excguard": "the network",
    "uv tool install .": "tests/release/test_install.py",
    "pipx install .": "tests/release/test_install.py",
    "python3 -m venv ~/excguard && ~/excguard/bin/pip install .": "tests/release/test_install.py",
}

# Commands of all other pages: where they are run, or why they are not.
ELSEWHERE = {
    "CONTRIBUTING.md": "tests/release/test_distributions.py builds; the environment of the tests is made so",
    "docs/ci.md": "tests/docs/test_ci_page.py: the third walk, of who sets up a build server",
    "docs/farm.md": "tests/docs/test_farm_page.py; the agent sends to a Prometheus that does not exist",
    "docs/fleet.md": "tests/fleet/test_scan.py; the example's bucket does not exist",
    "docs/proof.md": "tests/macos/test_execution.py; the last block is for a Mac: .github/workflows/ci.yml",
    "docs/simulator.md": "tests/docs/test_simulator_page.py",
    "examples/README.md": "tests/examples/test_examples.py",
}
WALKED = ("README.md", "docs/launchd.md", "dashboards/README.md")


class Walk:
    """Runs the commands of a page in a directory, and keeps account of them."""

    def __init__(self, page: Path, directory: Path, environ: dict[str, str]) -> None:
        self.directory = directory
        self.environ = environ
        text = page.read_text()
        self.blocks = commands(page)
        spans = re.findall(r"`(excguard [^`]+)`", text)
        self.known = {*self.blocks, *spans, *(f"excguard {word}" for word in re.findall("`([^`]+)`", text))}
        self.done: set[str] = set()

    def run(
        self, command: str, *, status: int = 0, actual: str = "", stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the page, or ``actual`` in its place where the page has a placeholder."""
        assert command in self.known, f"the page has no {command!r}"
        self.done.add(command)
        done = subprocess.run(
            ["bash", "-c", actual or command],
            cwd=self.directory,
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == status, (command, done.stdout, done.stderr)
        return done

    def start(self, command: str, actual: str = "") -> subprocess.Popen[str]:
        """Start a command of the page that goes on."""
        assert command in self.known, f"the page has no {command!r}"
        self.done.add(command)
        return subprocess.Popen(
            ["bash", "-c", f"exec {actual or command.removesuffix('&')}"],
            cwd=self.directory,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def finish(self) -> None:
        """Each command of a block has been run, or is listed as one that is not."""
        assert [command for command in self.blocks if command not in self.done | NOT_RUN.keys()] == []


@pytest.fixture
def environ(kernel, tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    (home / "state").mkdir(parents=True)
    return {
        **{name: value for name, value in os.environ.items() if name not in {"COLUMNS", "XDG_CONFIG_HOME"}},
        **kernel.environ,
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The directory of a program "app" that breaks a rule."""
    program = tmp_path / "app"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m excguard.misuse --quiet double_deallocate\n')
    program.chmod(0o755)
    return tmp_path


@pytest.fixture
def ended() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that end with the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.terminate()
        process.communicate(timeout=60)


def first_line(process: subprocess.Popen[str]) -> dict[str, str]:
    """What the first line of `excguard serve` says."""
    assert process.stdout is not None
    line = process.stdout.readline().strip().removeprefix("excguard: ")
    return dict(part.split(" ", 1) for part in line.split(", "))


def test_the_readme(app: Path, environ: dict[str, str], ended: list[subprocess.Popen[str]]) -> None:
    walk = Walk(ROOT / "README.md", app, environ)
    report = shutil.copy(ROOT / "tests/data/reports/text_01_macos14.4_arm64_two_codes_lines.txt", app)
    (app / "config.toml").write_text(
        '[metrics]\nlisten = "127.0.0.1:0"\n[log]\npath = "log.jsonl"\n[journal]\npath = "journal"\n'
        '[[target]]\nname = "app"\ncommand = ["./app"]\nrestart = "never"\n'
    )

    assert "Fix: " in walk.run("excguard run -- ./app").stderr
    assert "1 guard hit" in walk.run("excguard run -- ./app --its arguments").stderr
    walk.run("excguard run --fail-on optional --junit hits.xml -- ./app", status=3)
    assert "INVALID_NAME" in (app / "hits.xml").read_text()
    assert "MACH_PORT" in walk.run("excguard decode 2305845208236959491").stdout
    assert "MACH_PORT" in walk.run("excguard decode -", stdin=Path(report).read_text()).stdout
    assert "MACH_PORT" in walk.run("excguard report FILE...", actual=f"excguard report {report}").stdout
    walk.run("excguard scan DIR", actual=f"excguard scan {app}")
    assert "port name" in walk.run("excguard explain INVALID_NAME").stdout
    where = walk.run("excguard serve --config config.toml").stdout
    assert "page http://127.0.0.1:" in where
    assert '"guard_hit"' in (app / "log.jsonl").read_text()
    assert walk.run("excguard doctor", actual="excguard doctor || test $? = 1").stdout

    copied_dashboards(app)
    serve = 'PATH="$PWD/.venv/bin:$PATH" excguard serve --config dashboards/demo.toml &'
    daemon = walk.start(serve, actual="excguard serve --config dashboards/demo.toml")
    ended.append(daemon)
    page = first_line(daemon)["page"]
    with urllib.request.urlopen(page) as answer:
        assert b"excguard" in answer.read()
    command = next(one for one in walk.blocks if one.startswith("prometheus "))
    if shutil.which("prometheus") is None:
        walk.done.add(command)
    else:
        ended.append(scraped(walk, command, page))

    walk.finish()


def copied_dashboards(directory: Path) -> Path:
    """A copy of dashboards/ whose demonstration keeps its files there, and takes any free port."""
    copy = directory / "dashboards"
    shutil.copytree(ROOT / "dashboards", copy)
    demo = copy / "demo.toml"
    text = demo.read_text().replace("/tmp/excguard-demo", f"{directory}/demo")  # noqa: S108
    demo.write_text(text + '\n[metrics]\nlisten = "127.0.0.1:0"\n')
    return copy


def scraped(walk: Walk, command: str, page: str) -> subprocess.Popen[str]:
    """The page's Prometheus, once it has scraped the page's excguard."""
    found = re.search(r"--config.file=(\S+)", command)
    assert found is not None
    config = walk.directory / found[1]
    address = page.removeprefix("http://").rstrip("/")
    config.write_text(config.read_text().replace("127.0.0.1:12012", address).replace("5s", "1s"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        own = f"127.0.0.1:{probe.getsockname()[1]}"
    actual = re.sub(r" --web.listen-address=\S+", "", command).replace("/tmp/", f"{walk.directory}/")  # noqa: S108
    actual += f" --web.listen-address={own}"
    server = walk.start(command, actual=actual)

    def up() -> bool:
        assert server.poll() is None
        try:
            with urllib.request.urlopen(f"http://{own}/api/v1/query?query=up") as answer:
                result = json.load(answer)["data"]["result"]
        except OSError:
            return False
        return [sample["value"][1] for sample in result] == ["1"]

    wait_until(up)
    return server


class Grafana(http.server.BaseHTTPRequestHandler):
    """Takes a dashboard as Grafana's API does: POST /api/dashboards/db, with a token."""

    dashboards: ClassVar[list[dict]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        right = self.path == "/api/dashboards/db" and self.headers["Authorization"] == "Bearer secret"
        if right and self.headers["Content-Type"] == "application/json":
            self.dashboards.append(body)
        self.send_response(200 if right else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_the_page_about_dashboards(
    tmp_path: Path, environ: dict[str, str], ended: list[subprocess.Popen[str]]
) -> None:
    if shutil.which("jq") is None or shutil.which("curl") is None:
        pytest.skip("jq or curl is not installed")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Grafana)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    directory = copied_dashboards(tmp_path)
    walk = Walk(
        ROOT / "dashboards" / "README.md",
        directory,
        {**environ, "GRAFANA_URL": f"http://127.0.0.1:{server.server_port}", "GRAFANA_TOKEN": "secret"},
    )
    own, imported, serve, prometheus = walk.blocks

    walk.run(own, actual=own.replace("/etc/prometheus/alerts.yml", "ours.yml"))
    ours = (directory / "ours.yml").read_text()
    assert "runbook_url: https://wiki.example/excguard/runbooks.md#excguardfatalhit" in ours
    assert "github.com" not in ours
    walk.run(imported)
    assert Grafana.dashboards == [
        {"dashboard": json.loads((ROOT / "dashboards/grafana.json").read_text()), "overwrite": True}
    ]
    server.shutdown()
    server.server_close()
    daemon = walk.start(serve)
    ended.append(daemon)
    page = first_line(daemon)["page"]
    if shutil.which("prometheus") is None:
        walk.done.add(prometheus)
    else:
        ended.append(scraped(walk, prometheus, page))

    walk.finish()


STAND_INS = {
    # Answers the questions of the page: keeps what would be written where only root may.
    "sudo": '#!/bin/sh\necho "$@" >> "$HOME/sudo.calls"\ncat >> "$HOME/sudo.input"\n',
    "editor": '#!/bin/sh\ncat "$HOME/edited.toml" > "$1"\n',
    # excguard, for a user with the id 501: these tests may be run by root, to whom no agent belongs.
    "excguard": (
        "#!{python}\n"
        "import sys\n"
        "import excguard.cli.launchd\n"
        "from excguard.__main__ import main\n"
        "from excguard.launchd.install import check_user\n"
        "excguard.cli.launchd.check_user = lambda kind, _: check_user(kind, 501)\n"
        "sys.argv[0] = 'excguard'\n"
        "main()\n"
    ),
}


@pytest.mark.skipif(
    sys.platform == "darwin", reason="the stand-in of launchctl is not used where there is one"
)
def test_the_page_about_launchd(
    tmp_path: Path, environ: dict[str, str], ended: list[subprocess.Popen[str]]
) -> None:
    home = Path(environ["HOME"])
    programs = tmp_path / "bin"
    programs.mkdir()
    stand_in = (ROOT / "tests/launchd/launchctl_stand_in.py").read_text()
    for name, text in {
        **STAND_INS,
        "launchctl": "#!{python} -IS\n" + stand_in.replace("{", "{{").replace("}", "}}"),
    }.items():
        (programs / name).write_text(text.format(python=sys.executable) if "{python}" in text else text)
        (programs / name).chmod(0o755)
    (home / "edited.toml").write_text(
        f'[metrics]\nlisten = "127.0.0.1:0"\n[journal]\npath = "{home}/state/journal"\n'
        '[[target]]\nname = "still"\ncommand = ["/bin/sleep", "600"]\nstop_timeout = 20\n'
    )
    walk = Walk(
        DOCS / "launchd.md",
        tmp_path,
        {
            **environ,
            "PATH": f"{programs}{os.pathsep}{environ['PATH']}",
            "LAUNCHCTL_STATE": str(tmp_path / "launchctl"),
            "EDITOR": str(programs / "editor"),
            "USER": "qa",
            "TMPDIR": str(tmp_path),
            # Where a Mac has it without this variable.
            "XDG_CONFIG_HOME": str(home / "Library" / "Application Support"),
        },
    )
    library = home / "Library"
    plist = library / "LaunchAgents" / "org.excguard.agent.plist"

    # Install
    for command in walk.blocks[:2]:
        walk.run(command)
    assert "watches still" in walk.run("excguard config check").stdout
    planned = walk.run("excguard launchd install --dry-run").stdout
    assert not plist.exists()
    assert "<integer>45</integer>" in planned
    assert "launchctl bootstrap gui/" in walk.run("excguard launchd install").stdout
    assert walk.run("excguard launchd print").stdout.encode() == plist.read_bytes()
    assert "kickstart -k" in walk.run("excguard launchd install --restart").stdout

    daemon = started_by_launchd(plist, environ)
    ended.append(daemon)
    log = library / "Logs" / "excguard" / "excguard.jsonl"

    def logged(event: str) -> bool:
        assert daemon.poll() is None, log.with_name("errors.log").read_text()
        return log.exists() and f'"event":"{event}"' in log.read_text()

    wait_until(lambda: logged("target_started"))
    wait_until(log.with_name("org.excguard.agent.pid").exists)
    assert f"log {log}" in log.with_name("errors.log").read_text()
    assert "running" in walk.run("excguard launchd status").stdout
    shown = walk.run("excguard launchd logs --follow", actual="excguard launchd logs").stdout
    assert "target_started" in shown
    walk.run("excguard launchd stop")
    walk.run("excguard launchd status", status=1)
    walk.run("excguard launchd start")
    walk.run("excguard launchd restart")

    # The environment of the programs
    bare = next(command for command in walk.blocks if command.startswith("env -i"))
    walk.run(bare)

    # Signals, rotation
    walk.run("excguard config check && kill -HUP $(cat ~/Library/Logs/excguard/org.excguard.agent.pid)")
    wait_until(lambda: logged("configuration_reloaded"))
    rule = "excguard launchd print --newsyslog | sudo tee /etc/newsyslog.d/org.excguard.agent.conf"
    walk.run(rule)
    assert (home / "sudo.calls").read_text() == "tee /etc/newsyslog.d/org.excguard.agent.conf\n"
    assert f"{log}\t" in (home / "sudo.input").read_text()

    # Remove everything
    walk.run("excguard launchd uninstall")
    daemon.send_signal(signal.SIGTERM)  # what launchd does then
    assert daemon.wait(timeout=60) == 0
    assert not plist.exists()
    assert str(library / "Logs" / "excguard") in walk.run("excguard uninstall-data --dry-run").stdout
    walk.run("excguard uninstall-data", actual="excguard uninstall-data --yes")
    assert not log.exists()

    walk.finish()


def started_by_launchd(plist: Path, environ: dict[str, str]) -> subprocess.Popen[str]:
    """The program of the job, as launchd starts it."""
    job = plistlib.loads(plist.read_bytes())
    kernel = {name: value for name, value in environ.items() if name.startswith("EXCSIM")}
    with Path(job["StandardOutPath"]).open("a") as errors:
        return subprocess.Popen(
            job["ProgramArguments"],
            cwd="/",
            env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": environ["HOME"], **kernel},
            stdout=errors,
            stderr=errors,
            text=True,
        )


def other_pages() -> list[Path]:
    """Every other page with a command."""
    pages = [
        *ROOT.glob("*.md"),
        *DOCS.glob("*.md"),
        ROOT / "dashboards/README.md",
        ROOT / "examples/README.md",
    ]
    return [page for page in pages if commands(page) and str(page.relative_to(ROOT)) not in WALKED]


def test_the_commands_of_every_other_page_are_accounted_for() -> None:
    assert {str(page.relative_to(ROOT)) for page in other_pages()} == ELSEWHERE.keys()
    for reason in (*ELSEWHERE.values(), *NOT_RUN.values()):
        for name in re.findall(r"(?:tests|\.github|\.ci)/[\w./]*\w", reason):
            assert (ROOT / name).exists(), name


def test_what_is_not_run_is_on_a_page() -> None:
    shown = {command for name in WALKED for command in commands(ROOT / name)}

    assert NOT_RUN.keys() <= shown
    assert (
        "python3 -m venv .venv-test && .venv-test/bin/pip install '.[test]' && .venv-test/bin/pytest -n 2"
        in (ROOT / ".ci/run").read_text()
    )
