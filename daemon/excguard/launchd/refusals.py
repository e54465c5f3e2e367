"""What launchd refuses in a property list: launchd itself reports "5: Input/output error" for all of it.

launchctl(1): a property list must disallow writes by group and others, and belong to root or to the user who
loads it. launchd.plist(5): the program is an absolute path. One thing launchd does not refuse, and excguard
does: a daemon whose program users other than root can replace gives them root. A job whose program,
interpreter or log directory does not exist is loaded, and then fails at each start (exit status 78,
EX_CONFIG) without a line in its own log.
"""

import os
import plistlib
import re
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from excguard.files import bounded
from excguard.files.errors import reason

MAX_SIZE = 1 << 20
"""Bytes of a property list."""


def exchangeable(program: Path) -> Iterator[str]:
    """Why root must not run a program: other users may write to it, or to a directory on its path.

    Yields:
        One line for each such file or directory, those of the interpreter of a script included.
    """
    interpreter = _interpreter(program)
    reported = set()
    for path in (program, interpreter):
        if path is None:
            continue
        resolved = path.resolve()
        for part in (*path.parents, resolved, *resolved.parents):
            try:
                status = part.stat()
            except OSError:
                continue  # that it does not exist is reported elsewhere
            # In a sticky directory such as /tmp users can rename only their own files.
            shared = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
            if (shared or status.st_uid != 0) and part not in reported:
                reported.add(part)
                yield (
                    f"{part}: users other than root may write to it, and so decide what root runs; install "
                    "excguard where only root can (sudo python3 -m venv /opt/excguard), or use an agent"
                )


def refusals(file: Path, *, owner: int) -> Iterator[str]:
    """Every reason for which launchd would refuse a property list, or fail to start its job.

    Args:
        file: the property list.
        owner: the user id it should belong to: 0 for a daemon, the user's (or 0) for an agent.

    Yields:
        One line for each reason: what is wrong, and the fix.
    """
    quoted = shlex.quote(str(file))
    if file.suffix != ".plist":
        yield f"{file}: launchd reads files whose name ends in .plist; rename it"
    try:
        status = file.lstat()
    except OSError as error:
        yield f"{file}: {reason(error)}; install the job again"
        return
    if not stat.S_ISREG(status.st_mode):
        yield f"{file}: not a regular file; remove it and install the job again"
        return
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = status.st_mode & 0o777
        yield f"{file}: users other than its owner may write to it (mode {mode:03o}); chmod 644 {quoted}"
    if status.st_uid not in (owner, 0):
        yield f"{file}: belongs to user id {status.st_uid}; sudo chown {owner} {quoted}"
    try:
        raw = bounded.read(file, MAX_SIZE)
        contents = plistlib.loads(raw)
    except OSError as error:
        yield f"{file}: {reason(error)}; install the job again"
        return
    except Exception as error:  # noqa: BLE001 - plistlib lets the errors of expat and of each value type through
        yield f"{file}: not a property list ({error}); install the job again"
        return
    if not isinstance(contents, dict):
        yield f"{file}: contains no dictionary; install the job again"
        return
    for problem in (*contradictions(contents), *_ambiguous(raw)):
        yield f"{file}: {problem}"


def _ambiguous(raw: bytes) -> Iterator[str]:
    """Integers with leading zeros: base 10 to Apple's DTD and to plistlib, octal to libplist."""
    for found in re.findall(rb"<integer>\s*([+-]?0[0-9]+)\s*</integer>", raw):
        number = found.decode()
        octal = f", or {int(number, 8)} for octal {number}" if not set(number) & {"8", "9"} else ""
        yield (
            f"<integer>{number}</integer>: some readers take leading zeros for octal; "
            f"write {int(number)}{octal}"
        )


def contradictions(contents: Mapping[str, Any]) -> Iterator[str]:
    """Every reason in the contents of the property list.

    Yields:
        "KEY: what is wrong; the fix".
    """
    label = contents.get("Label")
    if not isinstance(label, str) or not label:
        yield "Label: missing; launchd identifies each job by its label"
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
        yield "ProgramArguments: missing; no program to start"
    elif not isinstance(executable, str) or not executable.startswith("/"):
        yield f"{key}: {executable!r} is not an absolute path; give the absolute path of the program"
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
            yield f"{name}: {path!r} is not an absolute path; launchd expands neither '~' nor variables"
            continue
        directory = Path(path) if name.endswith("Directory") else Path(path).parent
        if not directory.is_dir():
            yield f"{name}: directory {directory} does not exist; mkdir -p {shlex.quote(str(directory))}"
    if contents.get("ExitTimeOut") == 0:
        yield "ExitTimeOut: 0 lets a job that does not end block the shutdown of the system; set some seconds"


def _unstartable(program: Path) -> Iterator[str]:
    """Why a program cannot be started: it, or the interpreter in its first line, is missing or unusable."""
    try:
        if not stat.S_ISREG(program.stat().st_mode):
            yield f"{program} is not a file; give the path of the program itself"
            return
        if not os.access(program, os.X_OK):
            yield f"{program} is not executable; chmod +x {shlex.quote(str(program))}"
            return
        interpreter = _interpreter(program)
    except OSError as error:
        yield f"{program}: {reason(error)}; install excguard there, or install the job again"
        return
    if interpreter and (not interpreter.is_absolute() or not os.access(interpreter, os.X_OK)):
        yield (
            f"{program} is run by {interpreter}, which does not exist; was its Python upgraded or its "
            "virtual environment moved? Install excguard and the job again"
        )


def _interpreter(program: Path) -> Path | None:
    """The interpreter in the first line of a script; None for other programs. Raises OSError."""
    with program.open("rb") as file:
        first = file.readline(1024)
    if not first.startswith(b"#!"):
        return None
    words = first[2:].split()
    return Path(os.fsdecode(words[0])) if words else Path()
