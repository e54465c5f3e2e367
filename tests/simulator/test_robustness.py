"""No client can hurt the kernel: whatever it sends, others are served, and nothing is left of it."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.simulator.clients.fuzz import OP

if TYPE_CHECKING:
    from tests.support.mach_machine import Machine

FUZZ = Path(__file__).parent / "clients" / "fuzz.py"
LIVES = 20
HEADER = struct.Struct("<II3Q8Q")


def connect(machine: Machine) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(machine.kernel.socket)
    connection.settimeout(30)
    return connection


def hello() -> bytes:
    return HEADER.pack(1, 0, 0, 0, 0, 1, os.getpid(), *[0] * 6)


@pytest.mark.parametrize("seed", range(4))
def test_any_requests(machine: Machine, seed: int) -> None:
    seeds = [str(seed * LIVES + 1), str((seed + 1) * LIVES)]
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(FUZZ), *seeds],
        env=machine.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    assert machine.watch("misuse", "double_deallocate").messages
    held = machine.inspect()
    assert held["tasks"] == 1
    assert held["messages"] == 0


@pytest.mark.parametrize(
    "packet",
    [
        b"\0",
        hello()[:-1],
        hello() + b"x",
        HEADER.pack(3, 0, *[0] * 11),
        HEADER.pack(99, 0, *[0] * 11),
        HEADER.pack(1, 0xFFFFFFFF, *[0] * 11),
    ],
    ids=["short", "truncated", "longer than it says", "no hello", "unknown", "shorter than it says"],
)
def test_who_breaks_the_protocol_is_disconnected(machine: Machine, packet: bytes) -> None:
    with connect(machine) as connection:
        connection.send(packet)

        assert connection.recv(100) == b""


def test_second_request_before_the_reply_is_a_breach(machine: Machine) -> None:
    with connect(machine) as connection:
        connection.send(hello())
        connection.recv(100)
        receive = HEADER.pack(3, 0, 0, 0, 0, 2, 0, 4096, 0x103, 0, 0, 0, 0)
        allocate = HEADER.pack(4, 0, 0, 0, 0, 0x203, 1, 0, 0, 0, 0, 0, 0)
        connection.send(allocate)
        connection.recv(100)
        connection.send(receive)
        connection.send(receive)

        assert connection.recv(100) == b""


def test_clients_that_never_speak_are_bounded_and_released(machine: Machine) -> None:
    silent = [connect(machine) for _ in range(200)]

    assert machine.inspect()["threads"] == 201

    for connection in silent:
        connection.close()
    assert machine.watch("misuse", "double_deallocate").messages


def test_kernel_that_has_gone_is_an_error_and_no_hang(machine: Machine) -> None:
    environ = machine.environ
    machine.stop()

    done = subprocess.run(
        [machine.program("misuse"), "double_deallocate"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 99
    assert "no simulated kernel at EXCSIM_SOCKET=" in done.stderr
    assert done.stderr.count("no simulated kernel") == 1


def test_attributes_are_as_many_as_their_room(machine: Machine) -> None:
    """A client that asks for more words than the kernel has gets those that it has."""
    requests_size = 3  # MACH_PORT_DNREQUESTS_SIZE
    with connect(machine) as connection:
        connection.send(hello())
        connection.recv(100)
        connection.send(
            HEADER.pack(OP["PORT_GET_ATTRIBUTES"], 0, 0, 0, 0, 0x203, 0, requests_size, 0xFFFF, 0, 0, 0, 0)
        )
        reply = connection.recv(1 << 17)

    assert struct.unpack_from("<iI", reply) == (0, 17 * 4)
