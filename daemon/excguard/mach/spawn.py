"""Children whose guard exceptions arrive at a port of ours from their first instruction on.

`posix_spawn` alone can do that: exception ports that are set after a child has started miss its first hits,
and setting them needs a control port of the child, which excguard never asks for.
"""

import contextlib
import errno
import os
import shutil
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from excguard.knowledge.exception_behavior import Behavior
from excguard.mach import exception_ports
from excguard.mach.host import Host
from excguard.mach.ports import SendRight
from excguard.native import ffi, lib


def spawn(  # noqa: PLR0913 (each is one attribute of posix_spawn)
    host: Host,
    command: Sequence[str],
    *,
    exception_port: SendRight | None = None,
    behavior: Behavior = Behavior.IDENTITY_PROTECTED,
    environment: Mapping[str, str] | None = None,
    directory: str = "",
    process_group: int | None = None,
    null_stdin: bool = False,
    suspended: bool = False,
) -> int:
    """Start a program.

    Standard input, output and error are this process's own. So is every other descriptor that was inherited
    by this process, as with env(1) and nice(1); what Python opened is close-on-exec and stays here. Signals
    start at their defaults and unblocked; an ignored SIGHUP stays ignored, so that nohup(1) holds.

    Args:
        host: the running system, which has to support ``behavior``.
        command: program and arguments. A name without a slash is looked for on the PATH of ``environment``, a
            relative path starts at ``directory``.
        exception_port: receives EXC_GUARD of the child and of all its descendants that set no port of their
            own; the caller keeps its right. None for the ports of this task.
        behavior: what is reported.
        environment: the whole environment of the child; None for this process's own.
        directory: where it runs; empty for where this process runs.
        process_group: the group that it joins; 0 to lead a new one; None to stay in this process's.
        null_stdin: read /dev/null instead of standard input.
        suspended: it waits before its first instruction, as after SIGSTOP, until it is sent SIGCONT.

    Returns:
        The process id. The caller has to reap it (`os.waitpid`).

    Raises:
        OSError: it cannot be started; `filename` and the text name the program (or the directory) and the
            reason.
        UnsupportedReleaseError: see `exception_ports.check_supported`.
        ValueError: a NUL character in the command or the environment, or an empty command.
    """
    variables = os.environ if environment is None else environment
    program = find_program(command, variables, directory)
    arguments = _strings([_encoded(argument) for argument in command])
    settings = _strings([_setting(name, value) for name, value in variables.items()])
    behavior_and_flavor = exception_ports.registration(behavior, host)
    with _attributes() as attributes, _file_actions() as actions:
        flags = lib.POSIX_SPAWN_SETSIGDEF | lib.POSIX_SPAWN_SETSIGMASK
        _check(lib.posix_spawnattr_setsigdefault(attributes, _signal_set(_reset_signals())))
        _check(lib.posix_spawnattr_setsigmask(attributes, _signal_set(())))
        if process_group is not None:
            flags |= lib.POSIX_SPAWN_SETPGROUP
            _check(lib.posix_spawnattr_setpgroup(attributes, process_group))
        if suspended:
            flags |= lib.POSIX_SPAWN_START_SUSPENDED
        _check(lib.posix_spawnattr_setflags(attributes, flags))
        if exception_port is not None:
            _check(
                lib.posix_spawnattr_setexceptionports_np(
                    attributes, lib.EXC_MASK_GUARD, exception_port.name, *behavior_and_flavor
                )
            )
        if null_stdin:
            _check(lib.posix_spawn_file_actions_addopen(actions, 0, os.devnull.encode(), os.O_RDONLY, 0))
        if directory:
            _check(lib.posix_spawn_file_actions_addchdir_np(actions, os.fsencode(directory)))
        pid = ffi.new("int *")
        error = lib.posix_spawn(pid, os.fsencode(program), actions, attributes, arguments[0], settings[0])
    if error:
        raise OSError(error, _reason(error, Path(program), has_port=exception_port is not None), program)
    return int(pid[0])


def find_program(command: Sequence[str], environment: Mapping[str, str], directory: str) -> str:
    """The path of the program that `spawn` runs; posix_spawn reports these errors only as a number.

    Args:
        command: see `spawn`.
        environment: see `spawn`.
        directory: see `spawn`.

    Raises:
        OSError: it cannot be found; see `spawn`.
        ValueError: an empty command.
    """
    if not command or not command[0]:
        raise ValueError("no program to run: the command is empty")
    cwd = Path(directory)
    if not cwd.exists():
        raise FileNotFoundError(errno.ENOENT, "working directory does not exist", directory)
    if not cwd.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "working directory is not a directory", directory)
    if not os.access(cwd, os.X_OK):
        raise PermissionError(errno.EACCES, "no permission to enter the working directory", directory)
    program = command[0]
    if "/" in program:
        # Not every system changes the child's directory before it looks for the program.
        return str(cwd.absolute() / program)
    found = shutil.which(program, path=environment.get("PATH", os.defpath))
    if found is None:
        fix = f"in the working directory, use ./{program}" if (cwd / program).is_file() else "give its path"
        raise FileNotFoundError(errno.ENOENT, f"not found on PATH; {fix}", program)
    return str(Path(found).absolute())


def _reason(error: int, program: Path, *, has_port: bool) -> str:
    """Why posix_spawn failed, and how to fix it."""
    if error == errno.ENOENT:
        missing = "the interpreter in its first line does not exist; install it or change the line"
        return missing if program.exists() else "no such program; check the path"
    if error == errno.EACCES and program.is_dir():
        return "a directory, not a program; the program of an app is in its Contents/MacOS"
    if error == errno.EACCES and program.is_file() and not os.access(program, os.X_OK):
        return "not executable (chmod +x makes it so)"
    if error == errno.ENOEXEC:
        return "neither a program for this machine nor a script whose first line names its interpreter"
    if error == errno.EINVAL and has_port:
        return (
            "the kernel refused to start it with an exception port: a hardened program may accept none "
            "(com.apple.security.only-one-exception-port)"
        )
    return os.strerror(error)


@contextlib.contextmanager
def _attributes() -> Iterator[Any]:
    attributes = ffi.new("posix_spawnattr_t *")
    _check(lib.posix_spawnattr_init(attributes))
    try:
        yield attributes
    finally:
        lib.posix_spawnattr_destroy(attributes)


@contextlib.contextmanager
def _file_actions() -> Iterator[Any]:
    actions = ffi.new("posix_spawn_file_actions_t *")
    _check(lib.posix_spawn_file_actions_init(actions))
    try:
        yield actions
    finally:
        lib.posix_spawn_file_actions_destroy(actions)


def _reset_signals() -> set[int]:
    """The signals to reset: `exec` keeps ignored ones ignored, and Python ignores SIGPIPE."""
    return {
        number
        for number in signal.valid_signals()
        if not (number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN)
    }


def _signal_set(numbers: Iterable[int]) -> Any:  # noqa: ANN401 (a C pointer)
    signals = ffi.new("sigset_t *")
    lib.sigemptyset(signals)
    for number in numbers:
        lib.sigaddset(signals, number)
    return signals


def _strings(texts: Sequence[bytes]) -> tuple[Any, list[Any]]:
    """A C array of strings that ends with NULL, and what has to live as long as it."""
    owned = [ffi.new("char[]", text) for text in texts]
    return ffi.new("char *[]", [*owned, ffi.NULL]), owned


def _encoded(text: str) -> bytes:
    encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise ValueError(f"{text!r} contains a NUL character, which cannot be passed to a program")
    return encoded


def _setting(name: str, value: str) -> bytes:
    if not name or "=" in name:
        raise ValueError(f"invalid environment variable name {name!r}: empty, or contains '='")
    return _encoded(f"{name}={value}")


def _check(error: int) -> None:
    """For the calls that only put values into memory: they fail when there is none left."""
    if error:
        raise OSError(error, os.strerror(error))
