"""Guard codes that many tests raise, each the whole 64-bit code of a mach port guard.

A code is guard type << 61 | flavor << 32 | target (osfmk/kern/exc_guard.h); guard type 1 is MACH_PORT.
"""

MACH_PORT = 1 << 61

INVALID_NAME = MACH_PORT | 0x200 << 32 | 0x2703
"""The example of Apple's page about guard exceptions, on port 9987; optional on every release."""

DESTROY = MACH_PORT | 0x1 << 32 | 0x2703
"""Fatal on every release."""

SET_CONTEXT = MACH_PORT | 0x4 << 32 | 0x2703
"""Likewise."""

INCORRECT_GUARD = MACH_PORT | 0x10 << 32
THREAD_SET_STATE = MACH_PORT | 0x5 << 32
"""Fatal on macOS 26."""
