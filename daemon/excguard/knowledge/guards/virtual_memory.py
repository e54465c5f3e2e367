"""GUARD_TYPE_VIRT_MEMORY: the rules for a process's memory."""

from __future__ import annotations

from excguard.knowledge import names
from excguard.knowledge.guards.guard_type import NEWER, GuardType, Page
from excguard.knowledge.guards.layout import HEADER, UNSTATED, ZERO, Part, Payload, Target, When

_SOURCES = ("osfmk/vm/vm_map.c, osfmk/mach/vm_statistics.h (xnu-11417.121.6)",)
_RECLAIM = Page(
    "",
    (
        (
            "memory of the allocator was overwritten: the ring that malloc shares with the kernel lies in "
            "the process"
        ),
        "the process unmapped or protected memory that it had given to malloc",
    ),
    "Look for a stray write: run with Guard Malloc or AddressSanitizer, and look for munmap or "
    "vm_deallocate of memory that another owner uses.",
    ("osfmk/vm/vm_reclaim.c (xnu-8792.41.9 to 11417.121.6)",),
    notes=("Always kills: the kernel ends the process itself (reclaim_kill_with_reason).",),
)
_SEC = Page(
    "",
    (
        (
            "memory that the system protects (tagged, executable or input/output memory) was used in a "
            "forbidden way"
        ),
    ),
    "No public source says more than the name: look at the top frames for the mapping call that was refused.",
    ("osfmk/mach/vm_statistics.h",),
)
_MTE = Page(
    "",
    ("an overflow or a use after free: the pointer's tag is not the memory's",),
    "Treat it as memory corruption at the address in the payload: run with AddressSanitizer or malloc's "
    "tagging diagnostics, and find the code that freed that block.",
    ("osfmk/mach/vm_statistics.h (26.4 SDK)", NEWER),
    notes=(
        (
            "In soft mode (bit 20 of the target) the process goes on: no handler is called, only a "
            "simulated crash report and a log line are written."
        ),
    ),
)
_GUARD_OBJECT_NOTES = ("Reports have the termination namespace MTE_FAIL.", *_MTE.notes)
_COW = Page(
    "",
    ("a copy-on-write copy was asked for in a process that has them turned off",),
    "Map the memory shared, or copy its bytes.",
    ("osfmk/mach/vm_statistics.h (27.0 SDK)",),
)

PAGES: dict[str | None, Page] = {
    "DEALLOC_GAP": Page(
        "memory was deallocated or mapped over in a range that has a hole",
        (
            "munmap or vm_deallocate twice for one range",
            (
                "mmap with MAP_FIXED, or vm_map with VM_FLAGS_OVERWRITE, over a range that is not mapped "
                "throughout"
            ),
            "a wrong length or address, or two allocators that share a range",
        ),
        "Unmap each range once, with the address and length that mmap gave; reserve a whole range before "
        "mapping over parts of it. The payload is the first address that was not mapped.",
        _SOURCES,
        reported=("DEALLOC_GAP",),
    ),
    "RECLAIM_COPYIO_FAILURE": _RECLAIM.replace(
        rule="the kernel could not read the ring of memory to be reclaimed"
    ),
    "RECLAIM_INDEX_FAILURE": _RECLAIM.replace(
        rule="an index in the ring of memory to be reclaimed is out of order"
    ),
    "RECLAIM_DEALLOCATE_FAILURE": _RECLAIM.replace(
        rule="memory that was marked for reclaiming could not be deallocated"
    ),
    "RECLAIM_ACCOUNTING_FAILURE": _RECLAIM.replace(
        rule="more memory was reclaimed than the process had counted", sources=(NEWER,)
    ),
    "SEC_LOOKUP_DENIED": _SEC.replace(rule="a look-up of protected memory was denied"),
    "SEC_RANGE_DENIED": _SEC.replace(rule="an operation on a range with protected memory was denied"),
    "SEC_ACCESS_FAULT": _SEC.replace(rule="an access to protected memory was refused"),
    "SEC_ASYNC_ACCESS_FAULT": _SEC.replace(
        rule="an access to protected memory was refused, and detected later"
    ),
    "SEC_COPY_DENIED": _SEC.replace(rule="copying protected memory was denied"),
    "SEC_SHARING_DENIED": _SEC.replace(rule="sharing protected memory was denied"),
    "SEC_IOPL_ON_EXEC_PAGE": _SEC.replace(rule="input/output was requested on an executable page"),
    "SEC_EXEC_ON_IOPL_PAGE": _SEC.replace(
        rule="execution was requested on a page with input/output in progress"
    ),
    "SEC_UPL_WRITE_ON_EXEC_REGION": _SEC.replace(
        rule="input/output was requested to write to an executable region"
    ),
    "LARGE_ALLOCATION_TELEMETRY": Page(
        "an allocation went over the limit of a process with guard objects",
        ("one very large allocation in a process with com.apple.security.hardened-process.guard-objects",),
        "Allocate less at a time. It only counts: the process goes on.",
        ("osfmk/mach/vm_statistics.h (26.4 and 27.0 SDK)", NEWER),
        notes=("0xd in the 26.4 SDK, 0x10 in the 27.0 SDK.",),
    ),
    "COW_DEFEATURED_COPY_DENIED": _COW.replace(rule="a copy-on-write copy was denied"),
    "COW_DEFEATURED_EXTRACT_DENIED": _COW.replace(rule="memory of this kind may not be taken out of the map"),
    "COW_DEFEATURED_SHARE_MAP_AS_COPY_DENIED": _COW.replace(
        rule="a memory entry made for sharing was mapped as a copy"
    ),
    "MTE_SYNC_FAULT": _MTE.replace(rule="a memory tag check failed"),
    "MTE_ASYNC_USER_FAULT": _MTE.replace(rule="a memory tag check failed, and was detected later"),
    "MTE_ASYNC_KERN_FAULT": _MTE.replace(
        rule=(
            "a memory tag check failed while the kernel worked on the process's memory, and was detected "
            "later"
        )
    ),
    "GUARD_OBJECT_ASYNC_USER_FAULT": _MTE.replace(
        rule="a guard object between allocations was touched, and detected later",
        causes=("an overflow into the guard that the allocator put behind a block",),
        notes=_GUARD_OBJECT_NOTES,
    ),
    "GUARD_OBJECT_ASYNC_KERN_FAULT": _MTE.replace(
        rule="a guard object was touched while the kernel worked on the process's memory",
        causes=("a system call was given a buffer that runs into a guard",),
        notes=_GUARD_OBJECT_NOTES,
    ),
}

SOFT_MODE = 0x100000
"""Bit 20 of the target of a memory fault: the process goes on (osfmk/arm64/sleh.c, newer sources)."""

_FAULTS = (
    "MTE_SYNC_FAULT",
    "MTE_ASYNC_USER_FAULT",
    "MTE_ASYNC_KERN_FAULT",
    "GUARD_OBJECT_ASYNC_USER_FAULT",
    "GUARD_OBJECT_ASYNC_KERN_FAULT",
)
"""Flavors that carry a machine exception code in the target."""

_CODE = "machine exception code in bits 19..0; bit 20 in soft mode"


def _single(part: Part) -> tuple[Payload, ...]:
    return (Payload((part,)),)


GUARD_TYPE = GuardType(
    number=5,
    name="VIRT_MEMORY",
    first="10.14",
    words=("VIRTUAL_MEMORY", "VM", "MEMORY"),
    home="virtual_memory.py",
    pages=PAGES,
    target=(
        Target("not used", "not used by this guard type", confidence=HEADER, when=ZERO),
        Target("not used", "%(value)#x; the header says it is not used", confidence=HEADER),
    ),
    targets=dict.fromkeys(
        _FAULTS,
        (
            Target(
                _CODE,
                "%(words)s; in soft mode: a report is written and the process goes on",
                words=names.fault_code,
                confidence=HEADER,
                when=When("bit 20 is set", lambda value: bool(value & SOFT_MODE)),
            ),
            Target(_CODE, "%(words)s", words=names.fault_code, confidence=HEADER),
        ),
    ),
    payload=_single(Part(63, 0, "address", "the address", words=names.address, confidence=HEADER)),
    payloads={
        "DEALLOC_GAP": _single(
            Part(63, 0, "offset", "first address of the gap", words=names.gap, confidence=HEADER)
        ),
        "RECLAIM_COPYIO_FAILURE": _single(
            Part(63, 0, "errno", "error of the copy", names.ERRNOS, confidence=HEADER)
        ),
        "RECLAIM_INDEX_FAILURE": _single(
            Part(63, 0, "index", "the index out of order", words=names.index, confidence=HEADER)
        ),
        "RECLAIM_DEALLOCATE_FAILURE": _single(
            Part(63, 0, "kern_return", "what deallocating returned", names.KERN_RETURNS, confidence=HEADER)
        ),
        "RECLAIM_ACCOUNTING_FAILURE": _single(
            Part(63, 0, "size", "bytes that the process had counted", words=names.size, confidence=HEADER)
        ),
        "LARGE_ALLOCATION_TELEMETRY": _single(
            Part(63, 0, "size", "bytes allocated", words=names.size, confidence=HEADER)
        ),
    },
    unknown_payload=UNSTATED,
    soft_mode_bits=dict.fromkeys(_FAULTS, SOFT_MODE),
)
