"""What the macOS binaries import: each symbol is on the list, the dangerous ones are on none.

The symbols are read from the files, not from the sources. The list is allowed_symbols.csv.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from tests.macos import cross, macho

ALLOWED = Path(__file__).parent / "allowed_symbols.csv"

FORBIDDEN = (
    r"_thread_(set|convert)_\w+|_thread_swap_\w+|_act_set_\w+",  # a thread's registers, exception ports
    r"_thread_(create|terminate|suspend|resume|abort)\w*|_task_(threads|suspend|resume|terminate)\w*",
    r"_task_set_(state|info|phys_footprint_limit|mach_voucher|ras_pc)|_task_(get|swap)_state",
    r"_(mach_)?vm_(write|protect|remap|allocate|map|copy|read|machine_attribute)\w*",  # another task's memory
    r"_host_(set|swap)_\w+|_processor_\w+",  # the whole system's handlers
    r"_ptrace|_processor_set_tasks\w*",  # the control of other processes
    r"_(system|popen|execl\w*|gets|strcpy|strcat|sprintf|vsprintf|mktemp|tmpnam)",
)
"""Symbols that no list may have: they change other tasks or threads, or invite accidents."""


def allowed() -> dict[str, dict[str, str]]:
    with ALLOWED.open(newline="") as file:
        return {row["symbol"]: row for row in csv.DictReader(file)}


def forbidden(names: set[str]) -> list[str]:
    return sorted(name for name in names if any(re.fullmatch(pattern, name) for pattern in FORBIDDEN))


def imported(build: Path, arch: str) -> set[str]:
    """The undefined symbols of all that is built."""
    return set().union(*(macho.undefined(build / name, arch) for name in cross.BINARIES))


def test_every_import_is_on_the_list(macos_build: Path, arch: str) -> None:
    assert sorted(imported(macos_build, arch) - allowed().keys()) == []


def test_nothing_is_on_the_list_without_need(macos_builds: dict[str, Path]) -> None:
    needed = {name for arch, build in macos_builds.items() for name in imported(build, arch)}
    assert sorted(allowed().keys() - needed) == []


INSERTED = {
    "__dyld_register_func_for_add_image",
    "_bootstrap_look_up",
    "_bootstrap_port",
    "_dladdr",
    "_getpid",
    "_mach_msg",
    "_mach_msg_destroy",
    "_mach_task_self_",
    "_pthread_equal",
    "_pthread_self",
    "_task_get_exc_guard_behavior",
    "_task_set_exc_guard_behavior",
    "dyld_stub_binder",
    *("_getenv", "_setenv", "_unsetenv", "_free", "_malloc"),
    *("_bzero", "___bzero", "_memcpy", "_sscanf", "_strcspn", "_strlen", "_strncmp"),
}
"""All that the inserted library may import: it runs in programs of users."""


def test_the_inserted_library_imports_no_more_than_it_says(macos_build: Path, arch: str) -> None:
    """No thread, no signal, no file, no output; of Mach its own flags, one look-up and sending."""
    assert sorted(macho.undefined(macos_build / cross.INSERTION, arch) - INSERTED) == []


def test_the_inserted_library_exports_nothing(macos_build: Path, arch: str) -> None:
    """Nothing of a program can be bound to it by accident: the two names are the linker's."""
    exports = macho.read(macos_build / cross.INSERTION, arch).exports
    assert set(exports) == {"__mh_dylib_header", "___dso_handle"}


def test_nothing_dangerous_is_imported(macos_build: Path, arch: str) -> None:
    """Above all nothing that sets thread state, whatever the list says."""
    assert forbidden(imported(macos_build, arch)) == []


def test_nothing_dangerous_is_on_the_list() -> None:
    assert forbidden(set(allowed())) == []


def test_the_forbidden_patterns_mean_what_they_say() -> None:
    dangerous = {
        "_thread_set_state",
        "_thread_set_exception_ports",
        "_thread_swap_exception_ports",
        "_thread_convert_thread_state",
        "_task_set_state",
        "_mach_vm_write",
        "_vm_write",
        "_mach_vm_protect",
        "_host_set_exception_ports",
    }
    assert forbidden(dangerous) == sorted(dangerous)


def test_nothing_newer_than_the_deployment_target_is_linked() -> None:
    """A symbol that macOS 12 lacks would keep the module from loading; such are looked up at run time."""
    newer = [
        name
        for name, row in allowed().items()
        if tuple(map(int, row["since"].split("."))) > cross.MINIMUM_MACOS
    ]
    assert newer == []


def test_every_row_has_a_reason() -> None:
    assert [name for name, row in allowed().items() if not (row["library"] and row["reason"])] == []
