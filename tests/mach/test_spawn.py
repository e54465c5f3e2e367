"""Children with an exception port from their first instruction on."""

import ctypes
import os
import platform
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from excguard.knowledge.exception_behavior import Behavior
from excguard.mach import exception_ports, host, ports
from excguard.mach.ports import ReceiveRight
from excguard.mach.spawn import spawn
from excguard.native import ffi, lib

# Releases a right that it does not have, which is INVALID_NAME.
MISUSE = "from excguard.native import lib; lib.mach_port_deallocate(lib.mach_task_self(), 0x1f03)"


def receive(port: ReceiveRight) -> tuple[int, int, int]:
    """Wait for an exception message and let the sender go on: msgh_id, code, subcode."""
    buffer = ffi.new("char[]", 8192)
    header = ffi.cast("mach_msg_header_t *", buffer)
    options = lib.MACH_RCV_MSG | lib.MACH_RCV_TIMEOUT
    assert lib.mach_msg(header, options, 0, 8192, port.name, 20_000, 0) == 0
    # 2408 and 2410 alike: header, body, a port descriptor, NDR, thread id, exception, codeCnt, code[2].
    exception, count, code, subcode = struct.unpack_from("<iIQQ", ffi.buffer(buffer, header.msgh_size), 56)
    assert (exception, count) == (12, 2)
    lib.mach_msg_destroy(header)
    return header.msgh_id, code, subcode


def catch(behavior: str) -> list[int]:
    system = host.running()
    before = ports.names()
    with exception_ports.construct_exception_port(system) as port:
        with port.make_send() as send:
            pid = spawn(
                system, [sys.executable, "-c", MISUSE], exception_port=send, behavior=Behavior(behavior)
            )
        msgh_id, code, subcode = receive(port)
        status = os.waitpid(pid, 0)[1]
    assert ports.names() == before
    return [msgh_id, code, subcode, status]


@pytest.mark.parametrize(
    ("behavior", "msgh_id"), [("identity_protected", 2408), ("state_identity_protected", 2410)]
)
def test_a_violation_of_the_child_arrives(task: Callable[..., Any], behavior: str, msgh_id: int) -> None:
    arrived, code, _, status = task(catch, behavior)

    assert arrived == msgh_id
    assert code == 0x20000200_00001F03
    assert status == 0


def failures(directory: str, suspended: bool) -> dict[str, list[Any]]:  # noqa: FBT001 (comes by way of JSON)
    system = host.running()
    here = Path(directory)
    (here / "plain").write_text("text")
    (here / "script").write_text("#!/no/such/interpreter\n")
    (here / "nonsense").write_bytes(b"\x00\x01\x02")
    for name in ("script", "nonsense"):
        (here / name).chmod(0o755)
    found: dict[str, list[Any]] = {}

    def attempt(name: str, command: list[str], **settings: Any) -> None:
        try:
            spawn(system, command, suspended=suspended, **settings)
        except (OSError, ValueError) as error:
            found[name] = [type(error).__name__, str(error).replace(directory, "HERE")]
        else:
            found[name] = ["started"]

    descriptors = sorted(Path("/dev/fd").iterdir())
    attempt("missing", ["/no/such/program"])
    attempt("missing on PATH", ["no-such-program"])
    attempt("here, not on PATH", ["plain"], directory=directory)
    attempt("missing here", ["./absent"], directory=directory)
    attempt("not on that PATH", ["sh"], environment={"PATH": directory})
    attempt("directory", [directory])
    attempt("not executable", [f"{directory}/plain"])
    attempt("no interpreter", [f"{directory}/script"])
    attempt("nonsense", ["./nonsense"], directory=directory)
    attempt("no directory", ["/bin/sh"], directory="/no/such/directory")
    attempt("not a directory", ["/bin/sh"], directory=f"{directory}/plain")
    attempt("empty", [])
    attempt("empty name", [""])
    attempt("NUL", ["/bin/sh", "a\0b"])
    attempt("NUL in the environment", ["/bin/sh"], environment={"A": "\0"})
    attempt("bad variable", ["/bin/sh"], environment={"A=B": ""})
    assert descriptors == sorted(Path("/dev/fd").iterdir())
    return found


@pytest.mark.parametrize("suspended", [False, True], ids=["at once", "suspended"])
def test_what_cannot_be_started_is_named_with_the_reason(
    task: Callable[..., Any],
    tmp_path: Path,
    suspended: bool,  # noqa: FBT001
) -> None:
    found = task(failures, str(tmp_path), suspended)

    assert found == {
        "missing": ["FileNotFoundError", "[Errno 2] no such program; check the path: '/no/such/program'"],
        "missing on PATH": [
            "FileNotFoundError",
            "[Errno 2] not found on PATH; give its path: 'no-such-program'",
        ],
        "here, not on PATH": [
            "FileNotFoundError",
            "[Errno 2] not found on PATH; in the working directory, use ./plain: 'plain'",
        ],
        "missing here": ["FileNotFoundError", "[Errno 2] no such program; check the path: 'HERE/absent'"],
        "not on that PATH": ["FileNotFoundError", "[Errno 2] not found on PATH; give its path: 'sh'"],
        "directory": [
            "PermissionError",
            "[Errno 13] a directory, not a program; the program of an app is in its Contents/MacOS: 'HERE'",
        ],
        "not executable": [
            "PermissionError",
            "[Errno 13] not executable (chmod +x makes it so): 'HERE/plain'",
        ],
        "no interpreter": [
            "FileNotFoundError",
            (
                "[Errno 2] the interpreter in its first line does not exist; "
                "install it or change the line: 'HERE/script'"
            ),
        ],
        "nonsense": [
            "OSError",
            (
                "[Errno 8] neither a program for this machine nor a script whose first line names its "
                "interpreter: 'HERE/nonsense'"
            ),
        ],
        "no directory": [
            "FileNotFoundError",
            "[Errno 2] working directory does not exist: '/no/such/directory'",
        ],
        "not a directory": [
            "NotADirectoryError",
            "[Errno 20] working directory is not a directory: 'HERE/plain'",
        ],
        "empty": ["ValueError", "no program to run: the command is empty"],
        "empty name": ["ValueError", "no program to run: the command is empty"],
        "NUL": ["ValueError", "'a\\x00b' contains a NUL character, which cannot be passed to a program"],
        "NUL in the environment": [
            "ValueError",
            "'A=\\x00' contains a NUL character, which cannot be passed to a program",
        ],
        "bad variable": ["ValueError", "invalid environment variable name 'A=B': empty, or contains '='"],
    }


def held(directory: str) -> list[Any]:
    """What became of a suspended child: before it was continued, and after; and of one that is killed so."""
    (Path(directory) / "elsewhere").mkdir()
    script = "echo $$ $(pwd) >written; ps -o pgid= -p $$ >>written; cat >>written; kill -TERM $$"
    settings = {
        "directory": f"{directory}/elsewhere",
        "process_group": 0,
        "null_stdin": True,
        "suspended": True,
    }
    pid = spawn(host.running(), ["/bin/sh", "-c", script], **settings)
    stopped = os.waitpid(pid, os.WUNTRACED)[1]
    written = Path(directory, "elsewhere", "written")
    begun = written.exists()
    os.kill(pid, signal.SIGCONT)
    status = os.waitpid(pid, 0)[1]
    pids = written.read_text().replace(str(pid), "PID").split()
    killed = spawn(host.running(), ["/bin/sh", "-c", "echo >never"], **settings)
    os.kill(killed, signal.SIGTERM)
    os.kill(killed, signal.SIGCONT)
    ended = os.waitpid(killed, 0)[1]
    never = Path(directory, "elsewhere", "never").exists()
    return [os.WIFSTOPPED(stopped), begun, -os.waitstatus_to_exitcode(status), pids, ended, never]


def test_suspended_child_waits_for_sigcont(task: Callable[..., Any], tmp_path: Path) -> None:
    directory = tmp_path.resolve()
    outcome = task(held, str(directory))

    assert outcome == [
        True,
        False,
        signal.SIGTERM,
        ["PID", f"{directory}/elsewhere", "PID"],
        signal.SIGTERM,
        False,
    ]


def held_without_tracing() -> list[bool]:
    """Is a suspended child stopped where tracing is forbidden? By seccomp, as in some containers."""
    number = {"x86_64": 101, "aarch64": 117}[platform.machine()]  # ptrace: asm/unistd.h
    filters = (  # load the number, compare it, return EPERM, return "allow": linux/bpf_common.h, seccomp.h
        (0x20, 0, 0, 0),
        (0x15, 0, 1, number),
        (0x06, 0, 0, 0x50001),
        (0x06, 0, 0, 0x7FFF0000),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in filters))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(filters), ctypes.addressof(code)))
    libc = ctypes.CDLL(None)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS: linux/prctl.h
    assert libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
    pid = spawn(host.running(), ["/bin/sleep", "600"], suspended=True)
    stopped = os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
    os.kill(pid, signal.SIGCONT)
    continued = os.WIFCONTINUED(os.waitpid(pid, os.WCONTINUED)[1])
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return [stopped, continued]


@pytest.mark.skipif(sys.platform != "linux", reason="the simulator's way to suspend")
def test_suspended_child_is_stopped_where_tracing_is_forbidden(task: Callable[..., Any]) -> None:
    assert task(held_without_tracing) == [True, True]


def nohup(ignored: bool) -> int:  # noqa: FBT001 (comes by way of JSON)
    signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    pid = spawn(host.running(), ["/bin/sh", "-c", "kill -HUP $$"])
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(("ignored", "code"), [(True, 0), (False, -1)])
def test_nohup_holds(task: Callable[..., Any], code: int, *, ignored: bool) -> None:
    assert task(nohup, ignored) == code
