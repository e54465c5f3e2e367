"""The real machine answers as the probes expect."""

import http.server
import os
import socket
import threading
from pathlib import Path

import pytest

from excguard.doctor.machine import Machine


@pytest.fixture
def machine() -> Machine:
    made = Machine.__new__(Machine)  # without asking a kernel
    made.uid = os.geteuid()
    return made


def test_free_and_taken_ports(machine) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert machine.taken("127.0.0.1", port) == "taken by another program"
    assert machine.taken("127.0.0.1", port) is None
    assert machine.taken("203.0.113.7", 0) is not None  # TEST-NET-3: an address that is not assigned


@pytest.mark.parametrize(
    ("page", "expected"), [(b"x" * 90_000 + b"excguard_build_info{} 1\n", True), (b"hello", False)]
)
def test_who_listens(machine, page: bytes, expected: bool) -> None:  # noqa: FBT001 - a parameter of the test
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert machine.answers("127.0.0.1", server.server_port) is expected
        thread.join()
    assert machine.answers("127.0.0.1", server.server_port) is False


def test_directories(machine, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()

    assert machine.unwritable(tmp_path / "made" / "later") is None
    assert machine.unwritable(tmp_path / "file" / "in") == f"{tmp_path / 'file'} is not a directory"
    assert machine.unreadable(tmp_path) is None
    monkeypatch.setattr("os.access", lambda *_: False)
    assert machine.unreadable(tmp_path) == "no permission to read"
    assert machine.unreadable(tmp_path / "nowhere") is None
    assert machine.unwritable(tmp_path) == "no permission to write"


def test_programs_of_the_system(machine) -> None:
    answer = machine.run("id", "-u")

    assert answer is not None
    assert answer.output == f"{os.geteuid()}\n"
    assert machine.run("no-such-program-anywhere") is None


def test_programs_of_the_path_are_not_taken_for_the_systems(machine, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "csrutil-of-another").write_text("#!/bin/sh\n")
    (tmp_path / "csrutil-of-another").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert machine.run("csrutil-of-another") is None
