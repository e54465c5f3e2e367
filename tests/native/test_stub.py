"""`_core.pyi` says what the extension has."""

from __future__ import annotations

import runpy
from pathlib import Path

import excguard.native

NATIVE = Path(__file__).resolve().parents[2] / "daemon" / "excguard" / "native"


def test_the_stub_is_generated_from_the_extension() -> None:
    """Run daemon/excguard/native/generate_stub.py after a change of core.cdef."""
    stub = runpy.run_path(str(NATIVE / "generate_stub.py"))["stub"]()

    assert (NATIVE / "_core.pyi").read_text() == stub


def test_every_name_of_the_extension_is_typed() -> None:
    text = (NATIVE / "_core.pyi").read_text()
    missing = [
        name for name in dir(excguard.native.lib) if f" {name}: " not in text and f" {name}(" not in text
    ]

    assert missing == []
