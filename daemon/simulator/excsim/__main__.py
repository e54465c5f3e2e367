"""`python -m excsim`: run a program under a simulated kernel, or say how to build one for it."""

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence

from excsim import INCLUDE, LIBRARY, SOCKET_VARIABLE, Kernel, KernelError

_DESCRIPTION = """\
Runs a program under a simulated Mach kernel of its own and passes its exit status on. Without a program it
runs the kernel until it is interrupted, and prints the environment variable that makes programs belong to
it. It is a simulation for tests on machines that have no Mach; it protects nothing.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: the program's, 128+N for signal N, 125 when the kernel failed."""
    _open_missing_streams()
    options = _parser().parse_args(arguments)
    if options.cflags or options.libs:
        print(shlex.join(_flags(cflags=options.cflags, libs=options.libs)))  # noqa: T201 (what was asked for)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Kernel(
            release=options.release,
            developer_mode=options.developer_mode,
            task_exc_guard=options.task_exc_guard,
            arch=options.arch,
        ) as kernel:
            return _run(options.command, kernel) if options.command else _wait(kernel)
    except (KernelError, ValueError) as error:
        print(f"excsim: {error}", file=sys.stderr)  # noqa: T201
        return 2 if isinstance(error, ValueError) else 125
    except KeyboardInterrupt:
        return 0


def _open_missing_streams() -> None:
    """Open /dev/null for each closed standard stream, so that no socket gets its number."""
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= 2:  # the lowest free number
        os.set_inheritable(fd, True)  # noqa: FBT003 - it takes no keyword
        fd = os.open(os.devnull, os.O_RDWR)
    os.close(fd)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m excsim", description=_DESCRIPTION)
    parser.add_argument(
        "--release", default="26.4", metavar="R", help="the macOS that is simulated (%(default)s)"
    )
    parser.add_argument("--arch", choices=["x86_64", "arm64"], help="its processor (this machine's)")
    parser.add_argument(
        "--no-developer-mode",
        dest="developer_mode",
        action="store_false",
        help="fatal guards reach no handler (14.1 and later)",
    )
    parser.add_argument(
        "--task-exc-guard",
        type=_flag_bits,
        metavar="FLAGS",
        help="TASK_EXC_GUARD_ flags of new tasks (0x11: delivered, not fatal)",
    )
    parser.add_argument("--cflags", action="store_true", help="print what a compiler needs")
    parser.add_argument("--libs", action="store_true", help="print what a linker needs")
    parser.add_argument(
        "command", nargs="*", metavar="-- COMMAND", help="the program to run, and its arguments"
    )
    return parser


def _flag_bits(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid flags {text!r}: a number from 0 to 0xff") from None


def _flags(*, cflags: bool, libs: bool) -> list[str]:
    return [*([f"-I{INCLUDE}"] if cflags else []), *([str(LIBRARY), "-pthread"] if libs else [])]


def _run(command: Sequence[str], kernel: Kernel) -> int:
    program: subprocess.Popen[bytes] | None = None
    terminated = False

    def terminate(*_: object) -> None:
        nonlocal terminated
        terminated = True
        if program is not None:
            program.terminate()

    signal.signal(signal.SIGTERM, terminate)
    try:
        with subprocess.Popen(command, env=kernel.environ) as program:  # noqa: S603 (what the user asked to run)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the program as well
            if terminated:
                program.terminate()
            status = program.wait()
    except OSError as error:
        raise KernelError(f"{command[0]}: {error.strerror}") from error
    return status if status >= 0 else 128 - status


def _wait(kernel: Kernel) -> int:
    print(f"{SOCKET_VARIABLE}={shlex.quote(kernel.socket)}", flush=True)  # noqa: T201 (for `export`)
    os.waitid(os.P_PID, kernel.pid, os.WEXITED | os.WNOWAIT)
    print("excsim: the simulated kernel has ended", file=sys.stderr)  # noqa: T201
    return 125


if __name__ == "__main__":
    sys.exit(main())
