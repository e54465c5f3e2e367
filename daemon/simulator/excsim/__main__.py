"""`python -m excsim`: run a program under a simulated kernel, or say how to build one for it."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence

import click

from excsim import INCLUDE, LIBRARY, SOCKET_VARIABLE, Kernel, KernelError


def _flag_bits(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise click.BadParameter(f"invalid flags {text!r}: a number from 0 to 0xff") from None


@click.command("sim", context_settings={"allow_interspersed_args": False})
@click.option(
    "--release", default="26.4", show_default=True, metavar="RELEASE", help="The macOS that is simulated."
)
@click.option(
    "--arch",
    type=click.Choice(["x86_64", "arm64"]),
    help="The processor that is simulated.  [default: this machine's]",
)
@click.option(
    "--developer-mode/--no-developer-mode",
    default=True,
    show_default=True,
    help="Without it, fatal guards are not delivered (macOS 14.1 and later).",
)
@click.option(
    "--task-exc-guard",
    type=_flag_bits,
    metavar="FLAGS",
    help="TASK_EXC_GUARD_ flags of new tasks.  [default: 0x11, delivered and not fatal]",
)
@click.option(
    "--port-table-size",
    type=int,
    metavar="N",
    help="How many port names a program has room for, 256 to 65536; one more ends it since macOS 12.  "
    "[default: 65536]",
)
@click.option("--cflags", is_flag=True, help="Print the compiler options for a C program, and exit.")
@click.option("--libs", is_flag=True, help="Print the linker options for a C program, and exit.")
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="[--] [PROGRAM [ARGUMENTS]...]")
def command(  # noqa: PLR0913 - one argument an option
    *,
    release: str,
    arch: str | None,
    developer_mode: bool,
    task_exc_guard: int | None,
    port_table_size: int | None,
    cflags: bool,
    libs: bool,
    program: tuple[str, ...],
) -> int:
    """Run PROGRAM under a simulated Mach kernel of its own, and pass its exit status on.

    Without PROGRAM the kernel runs until it is interrupted; the environment variable that makes programs
    belong to it is printed. It is a simulation for tests on systems without Mach; it protects nothing.

    \b
    Examples:
      cc $(excguard sim --cflags) app.c $(excguard sim --libs) -o app
      excguard sim --release 15.5 -- excguard run -- ./app

    \b
    Exit status:
      N      the program's own; 128+N when signal N ended it
      2      the command line is wrong
      125    the kernel or the program could not be started
    """  # noqa: D301 - click wants the real backspace
    if cflags or libs:
        click.echo(shlex.join(_flags(cflags=cflags, libs=libs)))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Kernel(
            release=release,
            developer_mode=developer_mode,
            task_exc_guard=task_exc_guard,
            arch=arch,
            port_table_size=port_table_size,
        ) as kernel:
            return _run(program, kernel) if program else _wait(kernel)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except KernelError as error:
        click.echo(f"excsim: {error}", err=True)
        return 125
    except KeyboardInterrupt:
        return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: the program's, 128+N for signal N, 125 when the kernel failed."""
    _open_missing_streams()
    try:
        status = command.main(arguments, prog_name="python -m excsim", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"excsim: {error.format_message()}", err=True)
        return error.exit_code
    return status if isinstance(status, int) else 0


def _open_missing_streams() -> None:
    """Open /dev/null for each closed standard stream, so that no socket gets its number."""
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= 2:  # the lowest free number
        os.set_inheritable(fd, True)  # noqa: FBT003 - it takes no keyword
        fd = os.open(os.devnull, os.O_RDWR)
    os.close(fd)


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
    click.echo(f"{SOCKET_VARIABLE}={shlex.quote(kernel.socket)}")  # for `export`
    os.waitid(os.P_PID, kernel.pid, os.WEXITED | os.WNOWAIT)
    click.echo("excsim: the simulated kernel has ended", err=True)
    return 125


if __name__ == "__main__":
    sys.exit(main())
