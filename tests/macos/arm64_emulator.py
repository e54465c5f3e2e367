"""Runs functions of an arm64 Mach-O file under the Unicorn emulator.

Memory is what the file's segments say; imports are bound to handlers in Python. The calling convention is
Apple's for arm64: arguments in x0 to x7, variable ones on the stack.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from unicorn import UC_ARCH_ARM64, UC_HOOK_CODE, UC_MODE_ARM, UC_PROT_ALL, Uc, UcError
from unicorn.arm64_const import (
    UC_ARM64_REG_CPACR_EL1,
    UC_ARM64_REG_PC,
    UC_ARM64_REG_SP,
    UC_ARM64_REG_X0,
    UC_ARM64_REG_X30,
    UC_CPU_ARM64_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.macos.macho import Image

    Handler = Callable[["Emulator"], int | None]

PAGE = 0x4000
IMAGE = 0x1_0000_0000
TRAPS = 0x2_0000_0000
STACK, STACK_SIZE = 0x3_0000_0000, 0x10_0000
HEAP, HEAP_SIZE = 0x4_0000_0000, 0x100_0000
RETURN = TRAPS + 0xFFF8
RET = (0xD65F03C0).to_bytes(4, "little")
FLOATING_POINT_ENABLED = 3 << 20  # CPACR_EL1.FPEN: clang copies with vector registers
TIMEOUT = 20_000_000  # microseconds


class Emulator:
    """An arm64 processor with one image in its memory."""

    def __init__(self, image: Image, handlers: Mapping[str, Handler]) -> None:
        """Loads the image.

        `handlers`: what imports do, by name without the underscore. They get this emulator and read their
        arguments with `argument`; what they return becomes the call's result. An import without one stops
        the call that uses it.
        """
        self._machine = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
        self._machine.ctl_set_cpu_model(UC_CPU_ARM64_MAX)  # Apple's processors have the atomics of ARMv8.1
        self._machine.reg_write(UC_ARM64_REG_CPACR_EL1, FLOATING_POINT_ENABLED)
        self._image = image
        self._handlers = handlers
        self._heap = HEAP
        self._failure: Exception | None = None
        for start, size in ((IMAGE, image.size), (TRAPS, 0x10000), (STACK, STACK_SIZE), (HEAP, HEAP_SIZE)):
            self._machine.mem_map(start, -(-size // PAGE) * PAGE, UC_PROT_ALL)
        content = Path(image.path).read_bytes()
        for segment in image.segments:
            start = segment.file_offset
            self.write(IMAGE + segment.address, content[start : start + segment.file_size])
        for address, target in image.rebases.items():
            self.write(IMAGE + address, (IMAGE + target).to_bytes(8, "little"))
        self._bind()
        self._machine.hook_add(UC_HOOK_CODE, self._trap, begin=TRAPS, end=TRAPS + 0xFFFF)

    def _bind(self) -> None:
        self._names = sorted({place.name for place in self._image.imports})
        for index in range(len(self._names)):
            self.write(TRAPS + 8 * index, RET)
        for place in self._image.imports:
            address = TRAPS + 8 * self._names.index(place.name) + place.addend
            self.write(IMAGE + place.address, address.to_bytes(8, "little"))

    def _trap(self, _machine: Uc, address: int, _size: int, _data: object) -> None:
        if address == RETURN:
            return
        name = self._names[(address - TRAPS) // 8].removeprefix("_")
        try:
            if name not in self._handlers:
                raise NotImplementedError(f"the image calls {name}")  # noqa: TRY301
            result = self._handlers[name](self)
        except Exception as error:  # noqa: BLE001 - raised again outside of the emulator's C frames
            self._failure = error
            self._machine.emu_stop()
            return
        if result is not None:
            self._machine.reg_write(UC_ARM64_REG_X0, result & 0xFFFFFFFFFFFFFFFF)

    def read(self, address: int, size: int) -> bytes:
        """Bytes of the emulated memory."""
        return bytes(self._machine.mem_read(address, size))

    def write(self, address: int, content: bytes) -> None:
        """Stores bytes."""
        if content:
            self._machine.mem_write(address, content)

    def string(self, address: int) -> bytes:
        """The C string at an address, without its end."""
        found = b""
        while not found.endswith(b"\0"):
            found += self.read(address + len(found), 1)
        return found[:-1]

    def allocate(self, content: bytes | int, alignment: int = 16) -> int:
        """Address of new memory: a copy of some bytes, or so many zeros."""
        data = bytes(content) if isinstance(content, int) else content
        self._heap = -(-self._heap // alignment) * alignment
        address = self._heap
        self._heap += max(len(data), 1)
        if self._heap > HEAP + HEAP_SIZE:
            raise MemoryError("the emulator's heap is full")
        self.write(address, data)
        return address

    def free_all(self) -> None:
        """Forgets what `allocate` gave out."""
        self._heap = HEAP

    def argument(self, index: int) -> int:
        """The argument of an import that is being called, as an unsigned number."""
        return int(self._machine.reg_read(UC_ARM64_REG_X0 + index))

    def variable_argument(self, index: int) -> int:
        """The argument behind the last named one: Apple passes these on the stack, 8 bytes each."""
        stack = int(self._machine.reg_read(UC_ARM64_REG_SP))
        return int.from_bytes(self.read(stack + 8 * index, 8), "little")

    def call(self, name: str, *arguments: int) -> int:
        """Calls a function of the image's cffi module; returns x0."""
        for index, value in enumerate(arguments):
            self._machine.reg_write(UC_ARM64_REG_X0 + index, value & 0xFFFFFFFFFFFFFFFF)
        self._machine.reg_write(UC_ARM64_REG_SP, STACK + STACK_SIZE - 0x100)
        self._machine.reg_write(UC_ARM64_REG_X30, RETURN)
        self._failure = None
        try:
            self._machine.emu_start(IMAGE + self._image.functions[name], RETURN, TIMEOUT)
        except UcError as error:
            where = int(self._machine.reg_read(UC_ARM64_REG_PC)) - IMAGE
            raise RuntimeError(f"{name}: {error} at {where:#x} of {self._image.path}") from error
        if self._failure is not None:
            raise self._failure
        if self._machine.reg_read(UC_ARM64_REG_PC) != RETURN:
            raise TimeoutError(f"{name} did not return")
        return int(self._machine.reg_read(UC_ARM64_REG_X0))


def _copy(machine: Emulator) -> None:
    machine.write(machine.argument(0), machine.read(machine.argument(1), machine.argument(2)))


def _fill(machine: Emulator) -> None:
    machine.write(machine.argument(0), bytes([machine.argument(1) & 0xFF]) * machine.argument(2))


def _zero(machine: Emulator) -> None:
    machine.write(machine.argument(0), bytes(machine.argument(1)))


def _compare(machine: Emulator) -> int:
    size = machine.argument(2)
    a, b = machine.read(machine.argument(0), size), machine.read(machine.argument(1), size)
    return (a > b) - (a < b)


MEMORY_FUNCTIONS: dict[str, Handler] = {
    "memcpy": _copy,
    "memmove": _copy,
    "memset": _fill,
    "bzero": _zero,
    "__bzero": _zero,
    "memcmp": _compare,
}
"""What a compiler may call on its own, and C code that only looks at bytes."""
