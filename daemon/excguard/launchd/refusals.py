"""What launchd refuses in a property list, said before launchd answers "5: Input/output error" for all of it.

launchctl(1): a property list must disallow writes by group and others, and belong to root or to the user who
loads it. launchd.plist(5): the program is an absolute path. A program, interpreter or log folder that does
not exist is loaded all the same, and the job then fails at each start (exit status 78, EX_CONFIG) without a
word in its own log.
"""

import os
import plistlib
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


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
        with program.open("rb") as file:
            first = file.readline(1024)
    except OSError as error:
        yield f"{program}: {_reason(error)}; install excguard there, or install the job again"
        return
    if first.startswith(b"#!"):
        words = first[2:].split()
        interpreter = Path(os.fsdecode(words[0])) if words else Path()
        if not interpreter.is_absolute() or not os.access(interpreter, os.X_OK):
            yield (
                f"{program} is run by {interpreter}, which is not there; was its Python upgraded or its "
                "virtual environment moved? Install excguard and the job again"
            )


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
