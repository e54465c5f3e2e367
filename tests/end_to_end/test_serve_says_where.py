"""`excguard serve` says where its page, log, journal and configuration are, and which key is at fault."""

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.harness import EXCGUARD, Daemon

LOG = '[log]\npath = "hits.jsonl"\n'
QUIET = '[[target]]\nname = "still"\ncommand = ["sleep", "600"]\n'


@pytest.fixture
def refused(kernel, tmp_path: Path):
    """Starts `excguard serve` where it cannot serve: its status and its one line on standard error."""

    def start(config: str, *arguments: str) -> tuple[int, str]:
        (tmp_path / "bad.toml").write_text(config)
        done = subprocess.run(
            [*EXCGUARD, "serve", "--config", str(tmp_path / "bad.toml"), *arguments],
            env={**os.environ, **kernel.environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        return done.returncode, done.stderr

    return start


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_first_line_says_where_to_look(kernel, tmp_path: Path, form: str) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        '[metrics]\nlisten = "127.0.0.1:0"\n[log]\npath = "hits.jsonl"\n[journal]\npath = "journal"\n'
        '[[target]]\nname = "done"\ncommand = ["true"]\nrestart = "never"\n'
    )
    done = subprocess.run(
        [*EXCGUARD, "serve", "--config", str(config), *(["--json"] if form == "json" else [])],
        env={**os.environ, **kernel.environ},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    log = (tmp_path / "hits.jsonl").read_text()
    found = re.search(r'"url":"(http://127.0.0.1:\d+/)metrics"', log)
    assert found is not None
    where = {
        "page": found[1],
        "log": f"{tmp_path}/hits.jsonl",
        "journal": f"{tmp_path}/journal",
        "configuration": str(config),
    }

    if form == "json":
        assert json.loads(done.stdout) == where
    else:
        assert (
            done.stdout == "excguard: " + ", ".join(f"{name} {path}" for name, path in where.items()) + "\n"
        )


def test_a_port_in_use_is_named_with_how_to_find_its_owner(refused, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, error = refused(
            f'[metrics]\nlisten = "127.0.0.1:{port}"\n[journal]\npath = "j"\n{LOG}{QUIET}'
        )

    assert status == 125
    assert error == (
        f"excguard: no metrics on 127.0.0.1:{port}: address already in use "
        f"(`lsof -nP -iTCP:{port} -sTCP:LISTEN` shows by which program); "
        f"set metrics.listen in {tmp_path}/bad.toml to another address\n"
    )


def test_a_log_that_cannot_be_opened_is_named_by_its_key(refused, tmp_path: Path) -> None:
    config = f'[journal]\npath = "j"\n\n[log]\npath = "none/hits.jsonl"\n{QUIET}'
    path = f"{tmp_path}/none/hits.jsonl"

    assert refused(config) == (
        125,
        f"excguard: {tmp_path}/bad.toml: line 5: log.path: {path}: no such file or directory\n",
    )
    assert refused(config, "--log", f"{tmp_path}/no/other") == (
        125,
        f"excguard: --log: {tmp_path}/no/other: no such file or directory\n",
    )


def test_an_endpoint_without_protection_is_named_by_line_and_key(refused, tmp_path: Path) -> None:
    status, error = refused(f'[metrics]\n\nlisten = "0.0.0.0:0"\n[journal]\npath = "j"\n{LOG}{QUIET}')

    assert status == 2
    assert error.startswith(f"excguard: {tmp_path}/bad.toml: line 3: metrics.listen: other machines")


def test_a_rejected_configuration_names_file_line_and_key(serve, tmp_path: Path) -> None:
    daemon: Daemon = serve(QUIET)
    daemon.wait_for("target_started")
    config = tmp_path / "excguard.toml"
    text = config.read_text().replace('"600"]\n', '"600"]\nrestart_delay = -1\n')
    config.write_text(text)
    daemon.process.send_signal(signal.SIGHUP)
    (event,) = daemon.wait_for("configuration_rejected")

    assert event["file"] == str(config)
    assert event["key"] == "target[1].restart_delay"
    assert text.splitlines()[event["line"] - 1] == "restart_delay = -1"
    assert f'line {event["line"]}: [[target]] "still" restart_delay: -1' in event["error"]
