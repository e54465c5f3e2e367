"""The proofs are awake: each change that they are there to catch, made in a copy, makes its test fail."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.macos import cross, test_cross_build, test_header_layout, test_symbol_audit

if TYPE_CHECKING:
    from pathlib import Path

    from tests.macos.conftest import Sdk


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the C and of what it is generated from."""
    shutil.copytree(
        cross.ROOT / "daemon",
        tmp_path / "daemon",
        ignore=shutil.ignore_patterns("__pycache__", "*.so"),
    )
    return tmp_path


def change(file: Path, pattern: str, replacement: str) -> None:
    """Makes one change in a file, where `pattern` matches first."""
    text, count = re.subn(pattern, replacement, file.read_text(), count=1)
    assert count == 1, f"{pattern} is not in {file.name} any more"
    file.write_text(text)


def test_a_shifted_wire_offset_does_not_build(sdk: Sdk, copy: Path) -> None:
    """... and so test_the_c_builds_without_a_warning fails."""
    wire = copy / "daemon" / "excguard" / "native" / "wire.h"
    change(wire, r"( +)(int64_t code\[)", r"\1int32_t shift;\n\1\2")
    with pytest.raises(cross.BuildError, match="static assertion failed"):
        cross.build("arm64", sdk.zig, copy / "build", root=copy)


@pytest.mark.parametrize(
    ("header", "pattern", "replacement", "fact"),
    [
        ("mach/message.h", r"(#define MACH_RCV_TIMEOUT\s+)\S+", r"\g<1>0x00000800", "MACH_RCV_TIMEOUT"),
        ("mach/port.h", r"(kGUARD_EXC_INVALID_NAME\s*=\s*)\S+", r"\g<1>0x201,", "kGUARD_EXC_INVALID_NAME"),
        ("mach/mach_port.h", r"mach_port_delta_t", "mach_port_context_t", "mach_port_mod_refs()"),
    ],
)
def test_a_changed_fact_in_the_simulators_headers_is_named(
    sdk: Sdk, copy: Path, *, header: str, pattern: str, replacement: str, fact: str
) -> None:
    """... by test_every_fact_of_the_simulators_headers_is_apples."""
    headers = copy / "daemon" / "simulator" / "include"
    change(headers / header, pattern, replacement)
    mutant = test_header_layout.Comparison(sdk, "arm64", headers)
    with pytest.raises(AssertionError, match=re.escape(fact)):
        test_header_layout.test_every_fact_of_the_simulators_headers_is_apples(mutant)


@pytest.mark.parametrize("arch", cross.ARCHITECTURES)
def test_a_call_of_thread_set_state_is_found(sdk: Sdk, copy: Path, arch: str) -> None:
    """... by test_nothing_dangerous_is_imported and test_every_import_is_on_the_list."""
    receiver = copy / "daemon" / "excguard" / "native" / "receiver.c"
    receiver.write_text(
        receiver.read_text()
        + "\nextern kern_return_t excguard_mutant(thread_act_t thread);\n"
        + '__attribute__((used, visibility("default"))) kern_return_t excguard_mutant(thread_act_t thread)\n'
        + "{\n    natural_t state[4] = {0};\n    return thread_set_state(thread, 1, state, 4);\n}\n"
    )
    mutant = cross.build(arch, sdk.zig, copy / "build", root=copy)

    test_cross_build.check(mutant, arch)  # a sound file otherwise
    for caught_by in (
        test_symbol_audit.test_nothing_dangerous_is_imported,
        test_symbol_audit.test_every_import_is_on_the_list,
    ):
        with pytest.raises(AssertionError, match="_thread_set_state"):
            caught_by(mutant, arch)
