"""Runs a macOS extension module of x86_64 in a Linux process: what dyld does, with other libraries behind it.

The instructions are the file's own, and so is the calling convention: macOS and Linux share it on x86_64.
What the file imports is bound by name: Python's functions to this interpreter's, Mach's to the simulator's
client library, and libc's, where macOS means something else by a flag or a struct, to the adapters
(adapters.c).

Standard library only, because every child process of a test loads it as well (sitecustomize.py). The file
comes as the plan that macho.Image.save wrote.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

MODULE = "excguard.native._core"
PAGE = 0x1000
MAP_PRIVATE_ANONYMOUS = 0x22
PROT_READ_WRITE = 3

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.dlsym.restype = ctypes.c_void_p
_libc.dlsym.argtypes = [ctypes.c_void_p, ctypes.c_char_p]


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


class MachoImage:
    """A Mach-O file in this process's memory; it stays there until the process ends."""

    def __init__(self, plan: dict[str, Any], adapters: Path) -> None:
        """Maps the file and binds its imports. Raises ImportError with the names that nothing provides."""
        self._adapters = ctypes.CDLL(str(adapters))
        self._adapters.macos_symbol.restype = ctypes.c_void_p
        self._adapters.macos_symbol.argtypes = [ctypes.c_char_p]
        self._exports: dict[str, int] = plan["exports"]
        end = max(segment["address"] + segment["size"] for segment in plan["segments"])
        self.base = self._map(plan, _pages(end))
        for address, target in plan["rebases"].items():
            self._pointer(int(address)).value = self.base + target
        self._bind(plan["imports"])
        for segment in plan["segments"]:
            size, protection = _pages(segment["size"]), segment["protection"]
            if _libc.mprotect(self.base + segment["address"], size, protection) != 0:
                raise OSError(ctypes.get_errno(), f"mprotect of {segment['name']}")
        self.announce(plan["path"])
        for initializer in plan["initializers"]:
            ctypes.CFUNCTYPE(None)(self.base + initializer)()

    def _map(self, plan: dict[str, Any], size: int) -> int:
        base = _libc.mmap(None, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0)
        if base == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "mmap")
        with (
            Path(plan["path"]).open("rb") as file,
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content,
        ):
            for segment in plan["segments"]:
                start = segment["file_offset"]
                ctypes.memmove(
                    base + segment["address"],
                    content[start : start + segment["file_size"]],
                    segment["file_size"],
                )
        return int(base)

    def _pointer(self, address: int) -> ctypes.c_uint64:
        return ctypes.c_uint64.from_address(self.base + address)

    def _provider(self, name: str) -> int | None:
        if name.startswith(("_Py", "__Py")):
            address = _libc.dlsym(None, name.removeprefix("_").encode())
        else:
            address = self._adapters.macos_symbol(name.encode())
        return int(address) if address else None

    def _bind(self, imports: list[dict[str, Any]]) -> None:
        addresses = {name: self._provider(name) for name in {place["name"] for place in imports}}
        missing = sorted(name for name, address in addresses.items() if address is None)
        if missing:
            raise ImportError(f"no symbol for {', '.join(missing)}: see tests/macos/linux/adapters.c")
        for place in imports:
            self._pointer(place["address"]).value = (addresses[place["name"]] or 0) + place["addend"]

    def announce(self, path: str) -> None:
        """Reports the image to those who have registered with dyld for images that are added."""
        self._adapters.macos_image(ctypes.c_void_p(self.base), path.encode())

    def address(self, name: str) -> int:
        """Where an exported function is; `name` without the leading underscore."""
        return self.base + self._exports[f"_{name}"]


class MachoFinder(MetaPathFinder, Loader):
    """Makes `import excguard.native._core` load the macOS file."""

    def __init__(self, plan: Path, adapters: Path) -> None:
        """Takes the files' paths; they are read at the import."""
        self._plan = plan
        self._adapters = adapters

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answers for the one module."""
        del path, target
        return ModuleSpec(fullname, self, origin=str(self._plan)) if fullname == MODULE else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Maps the file and calls its PyInit function."""
        del spec
        image = MachoImage(json.loads(self._plan.read_text()), self._adapters)
        start = ctypes.PYFUNCTYPE(ctypes.py_object)(image.address("PyInit__core"))
        module: ModuleType = start()
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do: PyInit has filled the module."""


def install(directory: Path) -> None:
    """From now on this process imports the macOS file that `directory` holds (core.json, adapters.so)."""
    if MODULE in sys.modules:
        raise ImportError(f"{MODULE} is loaded already")
    sys.meta_path.insert(0, MachoFinder(directory / "core.json", directory / "adapters.so"))
