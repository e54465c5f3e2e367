"""What launchd refuses in a property list, said before launchd answers "5: Input/output error" for all of it.

launchctl(1): a property list must disallow writes by group and others, and belong to root or to the user who
loads it. launchd.plist(5): the program is an absolute path. One thing launchd does not refuse, and we do: a
daemon whose program somebody other than root could exchange is everybody's way to become root. A program,
interpreter or log folder that does not exist is loaded all the same, and the job then fails at each start
(exit status 78, EX_CONFIG) without a word in its own log.
"""

import os
import plistlib
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def exchangeable(program: Path) -> Iterator[str]:
    """Why a program is not fit to be run by root: somebody else may write to it, or to what leads there.

    Yields:
        One line for each such file or folder, those of the interpreter in a script's first line included.
    """
    interpreter = _interpreter(program)
    told = set()
    for path in (program, interpreter):
        if path is None:
            continue
        resolved = path.resolve()
        for part in (*path.parents, resolved, *resolved.parents):
            try:
                status = part.stat()
            except OSError:
                continue  # that it is not there is said elsewhere
            # In a sticky folder such as /tmp nobody can rename what belongs to another.
            shared = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
            if (shared or status.st_uid != 0) and part not in told:
                told.add(part)
                yield (
                    f"{part}: others than root may write to it, and so decide what root runs; install "
                    "excguard where only root can (sudo python3 -m venv /opt/excguard), or use an agent"
                )


def refusals(file: Path, *, owner: int) -> Iterator[str]:
    """Every reason for which launchd would not take a property list, or could not start its job.

    Args:
        file: the property list.
        owner: the user id it should belong to: 0 for a daemon, the user's for an agent (root will do there as
            well).

    Yields:
        One line for each reason: what is wrong, and how to mend it.
    """
    quoted = shlex.quote(str(file))
    if file.suffix != ".plist":
        yield f"{file}: launchd reads files whose name ends in .plist; rename it"
    try:
        status = file.lstat()
    except OSError as error:
        yield f"{file}: {_reason(error)}; install the job again"
        return
    if not stat.S_ISREG(status.st_mode):
        yield f"{file}: not a regular file; remove it and install the job again"
        return
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = status.st_mode & 0o777
        yield f"{file}: others than its owner may write to it (mode {mode:03o}); chmod 644 {quoted}"
    if status.st_uid not in (owner, 0):
        yield f"{file}: belongs to user id {status.st_uid}; sudo chown {owner} {quoted}"
    try:
        contents = plistlib.loads(file.read_bytes())
    except OSError as error:
        yield f"{file}: {_reason(error)}; install the job again"
        return
    except Exception as error:  # noqa: BLE001 - plistlib lets the errors of expat and of each value type through
        yield f"{file}: not a property list ({error}); install the job again"
        return
    if not isinstance(contents, dict):
        yield f"{file}: holds no dictionary; install the job again"
        return
    for problem in contradictions(contents):
        yield f"{file}: {problem}"


def contradictions(contents: Mapping[str, Any]) -> Iterator[str]:
    """The same for what stands in the property list.

    Yields:
        "KEY: what is wrong; how to mend it".
    """
    label = contents.get("Label")
    if not isinstance(label, str) or not label:
        yield "Label: missing; launchd knows each job by one"
    program = contents.get("Program")
    arguments = contents.get("ProgramArguments")
    if arguments is not None and not (
        isinstance(arguments, list) and arguments and all(isinstance(part, str) for part in arguments)
    ):
        yield "ProgramArguments: not a list of text; its first is the program"
        arguments = None
    key = "Program" if program is not None else "ProgramArguments"
    executable = program if program is not None else (arguments or [None])[0]
    if executable is None:
        yield "ProgramArguments: missing; there is nothing to start"
    elif not isinstance(executable, str) or not executable.startswith("/"):
        yield f"{key}: {executable!r} is no absolute path; name the program by its whole path"
    else:
        yield from (f"{key}: {problem}" for problem in _unstartable(Path(executable)))
    for name in (
        "StandardInPath",
        "StandardOutPath",
        "StandardErrorPath",
        "WorkingDirectory",
        "RootDirectory",
    ):
        path = contents.get(name)
        if path is None:
            continue
        if not isinstance(path, str) or not path.startswith("/"):
            yield f"{name}: {path!r} is no absolute path; launchd expands neither '~' nor variables"
            continue
        folder = Path(path) if name.endswith("Directory") else Path(path).parent
        if not folder.is_dir():
            yield f"{name}: no folder {folder}; mkdir -p {shlex.quote(str(folder))}"
    if contents.get("ExitTimeOut") == 0:
        yield "ExitTimeOut: 0 lets a stuck job stall the shutdown of the system; give it some seconds"


def _unstartable(program: Path) -> Iterator[str]:
    """Why a program cannot be started: it, or the interpreter that its first line names, is not there."""
    try:
        if not stat.S_ISREG(program.stat().st_mode):
            yield f"{program} is not a file; name the program itself"
            return
        if not os.access(program, os.X_OK):
            yield f"{program} may not be executed; chmod +x {shlex.quote(str(program))}"
            return
        interpreter = _interpreter(program)
    except OSError as error:
        yield f"{program}: {_reason(error)}; install excguard there, or install the job again"
        return
    if interpreter and (not interpreter.is_absolute() or not os.access(interpreter, os.X_OK)):
        yield (
            f"{program} is run by {interpreter}, which is not there; was its Python upgraded or its "
            "virtual environment moved? Install excguard and the job again"
        )


def _interpreter(program: Path) -> Path | None:
    """What runs a script, by its first line; None for other programs. Raises OSError."""
    with program.open("rb") as file:
        first = file.readline(1024)
    if not first.startswith(b"#!"):
        return None
    words = first[2:].split()
    return Path(os.fsdecode(words[0])) if words else Path()


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
