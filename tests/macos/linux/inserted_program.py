"""A program into which the inserted library for macOS is loaded: the child of test_insertion.py.

    inserted_program.py PLAN ADAPTERS

Maps the dylib, whose constructor runs; loads images afterwards; breaks a rule. Prints as JSON what it sees of
itself. Standard library only, as macho_loader.py.
"""

import ctypes
import json
import sys
import threading
from pathlib import Path

from macho_loader import MachoImage

VARIABLES = ("EXCGUARD_INSERTION", "DYLD_INSERT_LIBRARIES")

plan, adapters = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
mach, libc = ctypes.CDLL(str(adapters)), ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p  # C's environment, of which Python has a copy
task = ctypes.c_uint32.in_dll(mach, "mach_task_self_")


def flags() -> int:
    found = ctypes.c_uint32()
    assert mach.task_get_exc_guard_behavior(task, ctypes.byref(found)) == 0
    return found.value


before = flags()
image = MachoImage(plan, adapters)
image.announce("/later/library.dylib")
thread = threading.Thread(target=image.announce, args=["/later/on-another-thread.dylib"])
thread.start()
thread.join()
seen = {
    "flags": [before, flags()],
    "base": image.base,
    "environment": {name: value.decode() for name in VARIABLES if (value := libc.getenv(name.encode()))},
    "result": mach.mach_port_deallocate(task, 0x1F03),
}
sys.stdout.write(json.dumps(seen))
