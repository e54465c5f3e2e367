"""The running system, as far as guard exceptions depend on it: release, build, kernel, developer mode."""

import os
import re
from dataclasses import dataclass

from excguard.native import ffi, lib


@dataclass(frozen=True)
class Host:
    """What `running` found out.

    Attributes:
        release: the release of macOS: ``"26.4"``.
        build: its build: ``"25E246"``.
        kernel: ``"xnu-12377.101.15~1"``, or ``"simulated"`` where the simulated kernel stands in for Mach.
        machine: the architecture of the kernel, ``"arm64"`` or ``"x86_64"``, whatever this process was built
            for.
        developer_mode: False when the kernel does not deliver fatal guards (macOS 14.1 and later:
            osfmk/kern/exception.c of xnu-10002.41.9); None where there is no such mode.
        guard_behavior: `kern.task_exc_guard_default`, the ``task_exc_guard`` flags that new tasks start with;
            the upper byte is the one for processes that are not part of the system. None where it cannot be
            read.
    """

    release: str
    build: str
    kernel: str
    machine: str
    developer_mode: bool | None
    guard_behavior: int | None

    @property
    def version(self) -> tuple[int, ...]:
        """The release as numbers that compare: ``(26, 4)``."""
        return version(self.release)

    @property
    def simulated(self) -> bool:
        """Whether the kernel is the simulated one."""
        return self.kernel == "simulated"


def running() -> Host:
    """Ask the running kernel. Costs some system calls: ask once and keep the answer.

    Raises:
        OSError: `sysctlbyname` did not give one of the values that every release has.
    """
    kernel = _text("kern.version")
    xnu = re.search(r"xnu-[0-9.~]+", kernel)
    # uname returns x86_64 to a process that Rosetta translates; this value is the hardware's
    # (machine/sysctl.h).
    arm64 = _number("hw.optional.arm64") == 1
    machine = "arm64" if arm64 else os.uname().machine
    developer_mode = _number("security.mac.amfi.developer_mode_status")
    return Host(
        release=_text("kern.osproductversion"),
        build=_text("kern.osversion"),
        kernel=xnu[0] if xnu else "simulated" if kernel.startswith("excguard simulated") else kernel,
        machine="arm64" if machine == "aarch64" else machine,
        developer_mode=None if developer_mode is None else bool(developer_mode),
        guard_behavior=_number("kern.task_exc_guard_default"),
    )


def version(release: str) -> tuple[int, ...]:
    """A release as numbers that compare; a trailing zero counts for nothing: ``"15.0"`` is ``(15,)``."""
    numbers = [int(number) for number in re.findall(r"[0-9]+", release)]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _read(name: str) -> bytes | None:
    """The raw value of a `sysctl`; None where the running system has none of that name."""
    size = ffi.new("size_t *")
    if lib.sysctlbyname(name.encode(), ffi.NULL, size, ffi.NULL, 0) != 0:
        return None
    value = ffi.new("char[]", size[0])
    if lib.sysctlbyname(name.encode(), value, size, ffi.NULL, 0) != 0:
        return None
    return bytes(ffi.buffer(value, size[0]))


def _text(name: str) -> str:
    value = _read(name)
    if value is None:
        raise OSError(ffi.errno, f"sysctlbyname {name}: {os.strerror(ffi.errno)}")
    return value.rstrip(b"\0").decode(errors="replace").strip()


def _number(name: str) -> int | None:
    value = _read(name)
    return None if value is None else int.from_bytes(value, "little")
