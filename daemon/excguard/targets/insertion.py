"""Whether the library that excguard inserts can be loaded into a program, before the program is started.

dyld ends a program whose inserted library it cannot load (dyld-1378, dyld/DyldRuntimeState.cpp,
``allowInsertFailures``), and ignores its variables, and removes them from the environment, in a program that
may not be given any (dyld/DyldProcessConfig.cpp, ``ProcessConfig::Security``). Both are decided by the file's
mode, architecture and signature, so they are read from the file. Where a source is silent, the answer is
UNKNOWN.
"""

import enum
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from excguard import native
from excguard.knowledge.record import Record
from excguard.mach.host import Host
from excguard.targets import mach_o
from excguard.targets.executable import Executable
from excguard.targets.mach_o import MachOError

VARIABLE: Final = "DYLD_INSERT_LIBRARIES" if sys.platform == "darwin" else "LD_PRELOAD"
"""The variable that names libraries to load before a program's own: dyld(1); ld.so(8)."""

_SEPARATORS: Final = ":" if sys.platform == "darwin" else ": "
_LIBRARY: Final = "libexcguard_insertion.dylib" if sys.platform == "darwin" else "libexcguard_insertion.so"
# Where System Integrity Protection keeps the system's own programs.
SYSTEM_DIRECTORIES: Final = ("/System/", "/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/libexec/")
# Makes a program of the simulated kernel a hardened one; a Mac's kernel goes by the signature.
SIMULATED_HARDENED: Final = "EXCSIM_HARDENED"
_MAX_ENTRIES: Final = 50_000  # of an app bundle; a larger one is not searched


class Effect(enum.Enum):
    """What happens when a program is started with the library inserted."""

    LOADED = "loaded"
    IGNORED = "ignored"
    """The program runs without the library, and its children do not see the variable."""
    FATAL = "fatal"
    """The dynamic linker ends the program."""
    UNKNOWN = "unknown"
    """No source says which of these it is."""


class Verdict(Record):
    """An effect, and why.

    Attributes:
        effect: what happens.
        reason: a clause about the program, ``it is ...``; empty for LOADED.
        fix: what makes it LOADED; empty when nothing does, or is needed.
    """

    effect: Effect
    reason: str = ""
    fix: str = ""


def library_path() -> Path:
    """The library.

    Raises:
        FileNotFoundError: it is not installed.
    """
    # An editable installation has its Python files and its built files in two directories.
    for directory in native.__path__:
        library = Path(directory, _LIBRARY)
        if library.is_file():
            return library
    raise FileNotFoundError(f"{_LIBRARY} is not built; install excguard with pip, which builds it")


def judge(  # noqa: PLR0911 - one for each reason
    executable: Executable, library: Path, host: Host, environment: Mapping[str, str]
) -> Verdict:
    """What happens when a program is started with the library inserted.

    Args:
        executable: the program.
        library: see `library_path`.
        host: the running system.
        environment: of the program.
    """
    if unsafe := next((mark for mark in _SEPARATORS if mark in str(library)), ""):
        return Verdict(Effect.UNKNOWN, f"the library's path has {unsafe!r} in it: {library}")
    if executable.set_id:
        return Verdict(Effect.IGNORED, "it is setuid or setgid", "test a copy without that mode")
    if host.simulated:
        return _judge_elf(executable, environment)
    if executable.problem:
        return Verdict(Effect.UNKNOWN, f"its file could not be read: {executable.problem}")
    if str(executable.path).startswith(SYSTEM_DIRECTORIES):
        return Verdict(
            Effect.IGNORED,
            f"{executable.path} is part of macOS, which System Integrity Protection keeps libraries out of",
            "start the program itself, without a shell, env or another program of macOS before it",
        )
    slices = executable.running_slices(host.machine)
    if not slices:
        return Verdict(Effect.UNKNOWN, f"it has no code for {host.machine}")
    available = _architectures(library)
    for one in slices:
        if one.architecture not in available:
            return Verdict(
                Effect.FATAL,
                f"its architecture is {one.architecture}, which the library is not built for",
                f"build it for one of {', '.join(sorted(available))}",
            )
        verdict = _judge_slice(one)
        if verdict.effect is not Effect.LOADED:
            return verdict
    return Verdict(Effect.LOADED)


def _judge_slice(code: mach_o.Slice) -> Verdict:  # noqa: PLR0911 - one for each reason
    if code.restricted:
        return Verdict(Effect.IGNORED, "it has a __RESTRICT segment", "link test builds without it")
    signature = code.signature
    if signature is None:
        return Verdict(Effect.LOADED)
    if signature.platform:
        return Verdict(Effect.IGNORED, "Apple signed it as part of macOS")
    if signature.entitlements is None:
        return Verdict(Effect.UNKNOWN, "its entitlements could not be read")
    if signature.restricted and not signature.has("cs.allow-dyld-environment-variables"):
        return Verdict(
            Effect.IGNORED,
            "it is signed with the hardened runtime, without the entitlement to be given dyld variables",
            "sign test builds without the hardened runtime, or with "
            "com.apple.security.cs.allow-dyld-environment-variables and "
            "com.apple.security.cs.disable-library-validation",
        )
    if signature.library_validation:
        return Verdict(
            Effect.FATAL,
            "library validation refuses libraries of other signers",
            "sign test builds with com.apple.security.cs.disable-library-validation",
        )
    if signature.has("app-sandbox"):
        return Verdict(Effect.UNKNOWN, "its sandbox may keep it from reading the library")
    return Verdict(Effect.LOADED)


def _judge_elf(executable: Executable, environment: Mapping[str, str]) -> Verdict:
    """The same where the kernel is simulated, for programs of this machine."""
    if executable.elf is None:
        return Verdict(Effect.UNKNOWN, f"its file could not be read: {executable.problem}")
    if not executable.elf:
        return Verdict(Effect.IGNORED, "it is statically linked", "link it dynamically")
    if executable.sanitized:
        return Verdict(
            Effect.FATAL, "it has AddressSanitizer, which has to be the first library", "build it without"
        )
    if environment.get(SIMULATED_HARDENED, "0") != "0":
        return Verdict(Effect.IGNORED, "it is hardened (EXCSIM_HARDENED)", "test builds without it")
    return Verdict(Effect.LOADED)


def _architectures(library: Path) -> frozenset[str]:
    try:
        return frozenset(one.architecture for one in mach_o.read(library))
    except (MachOError, OSError):
        return frozenset()


def endangered(executable: Executable, library: Path, host: Host) -> str:
    """The first program in the same app bundle that would not survive the variable; empty when there is none.

    A program starts others, and those inherit the variable. The ones of its own bundle are known beforehand.
    """
    bundle = next((parent for parent in executable.path.parents if parent.suffix == ".app"), None)
    if bundle is None or host.simulated:
        return ""
    for number, path in enumerate(_files(bundle)):
        if number == _MAX_ENTRIES:
            return f"{bundle} has more than {_MAX_ENTRIES} files, so its programs were not checked"
        if not os.access(path, os.X_OK):
            continue
        other = Executable.of(path)
        if not any(one.program for one in other.slices):
            continue
        verdict = judge(other, library, host, {})
        if verdict.effect in {Effect.FATAL, Effect.UNKNOWN}:
            return f"{path.relative_to(bundle)}: {verdict.reason}"
    return ""


def _files(bundle: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(bundle):
        yield from (Path(directory, name) for name in names)


def with_library(library: Path, libraries: str) -> str:
    """The value of `VARIABLE` that loads ``library`` in addition to what the variable names already."""
    return ":".join(_distinct([str(library), *libraries.split(":")]))


def _distinct(words: Iterable[str]) -> list[str]:
    return [word for word in dict.fromkeys(words) if word]
