"""Our structs against the recorded layouts, by the compiler: fields' offsets and sizes, constants."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import compiler, corpus, toolchain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAYOUTS = corpus.layouts()

STRUCTS = {
    2405: "struct excguard_raise_request",
    2406: "struct excguard_raise_state_request",
    2407: "struct excguard_raise_state_identity_request",
    2408: "struct excguard_raise_identity_protected_request",
    2409: "struct excguard_raise_backtrace_request",
    2410: "struct excguard_raise_state_identity_protected_request",
}

# State -> the name in thread_state.h.
STATES = {
    ("x86_64", "x86_THREAD_STATE32"): "EXCGUARD_X86_STATE32",
    ("x86_64", "x86_THREAD_STATE64"): "EXCGUARD_X86_STATE64",
    ("x86_64", "x86_THREAD_STATE"): "EXCGUARD_X86_UNIFIED",
    ("x86_64", "x86_THREAD_FULL_STATE64"): "EXCGUARD_X86_FULL_STATE64",
    ("arm64", "ARM_THREAD_STATE"): "EXCGUARD_ARM_STATE",
    ("arm64", "ARM_THREAD_STATE64"): "EXCGUARD_ARM_STATE64",
    ("arm64", "ARM_THREAD_STATE32"): "EXCGUARD_ARM_STATE32",
}


def same(expression: str, value: int) -> str:
    return f'_Static_assert(({expression}) == {value}, "{expression}");'


def fields(struct: str, listed: list[dict[str, Any]]) -> Iterator[str]:
    for field in listed:
        name = field["name"]
        yield same(f"offsetof({struct}, {name})", field["offset"])
        yield same(f"sizeof((({struct} *)0)->{name})", field["size"])


def assertions() -> Iterator[str]:
    yield same("sizeof(mach_msg_header_t)", LAYOUTS["mach_msg_header_t"]["size"])
    yield from fields("mach_msg_header_t", LAYOUTS["mach_msg_header_t"]["fields"])
    for name, size in LAYOUTS["other_descriptor_sizes_64bit"].items():
        yield same(f"sizeof({name})", size)
    for routine in LAYOUTS["routines"].values():
        struct, request = STRUCTS[routine["msgh_id"]], routine["request"]
        yield same(f"sizeof({struct})", request["max_size"])
        yield from fields(struct, request["fields_at_codeCnt_2"])
        reply = (
            "struct excguard_reply" if routine["reply"]["max_size"] == 36 else "struct excguard_state_reply"
        )
        yield same(f"sizeof({reply})", routine["reply"]["max_size"])
        yield same(f"{routine['msgh_id']} + EXCGUARD_REPLY_ID_OFFSET", routine["reply_msgh_id"])
        yield from fields(reply, routine["reply"]["fields"])
    for name, trailer in LAYOUTS["trailers"]["structs"].items():
        yield same(f"sizeof({name})", trailer["size"])
        yield from fields(name, trailer["fields"])
    limits = LAYOUTS["limits"]
    yield same("EXCGUARD_CODE_MAX", limits["codeCnt_max"])
    yield same("EXCGUARD_STATE_MAX", limits["old_stateCnt_max"])
    states = LAYOUTS["thread_state"]
    for (arch, name), ours in STATES.items():
        state = states[arch][name]
        yield same(ours, state["flavor"] << 32 | state["count"])
    unified = states["MACHINE_THREAD_STATE"]["arm64"]
    yield same("EXCGUARD_ARM_UNIFIED", unified["flavor"] << 32 | unified["count"])
    intel, arm = states["x86_thread_state64_t_offsets"], states["arm_thread_state64_t_offsets"]
    yield same("EXCGUARD_X86_64_RIP", intel["rip"])
    yield same("EXCGUARD_X86_64_RSP", intel["rsp"])
    yield same("EXCGUARD_ARM_64_PC", arm["pc"])
    yield same("EXCGUARD_ARM_64_LR", arm["lr"])
    yield same("EXCGUARD_ARM_64_SP", arm["sp"])
    yield same("EXCGUARD_UNIFIED_HEADER", states["x86_thread_state_t"]["uts_offset"])


RUN = """
#include <stdio.h>
#include <string.h>
#include "thread_state.h"
#include "wire.h"

%s

/* Where the compiler puts the bit fields of a descriptor. */
int main(void)
{
    mach_msg_port_descriptor_t descriptor;
    unsigned char bytes[sizeof descriptor];
    memset(&descriptor, 0, sizeof descriptor);
    descriptor.disposition = 0xab;
    descriptor.type = 0xcd;
    memcpy(bytes, &descriptor, sizeof descriptor);
    for (unsigned i = 0; i < sizeof bytes; i++) {
        int expected = i == EXCGUARD_DISPOSITION_AT ? 0xab : i == EXCGUARD_DESCRIPTOR_TYPE_AT ? 0xcd : 0;
        if (bytes[i] != expected) {
            printf("byte %%u is %%x\\n", i, bytes[i]);
            return 1;
        }
    }
    return 0;
}
"""


@pytest.mark.skipif(compiler.find() is None, reason="no C compiler")
def test_layouts(tmp_path: Path) -> None:
    cc = compiler.find()
    assert cc is not None
    lines = list(assertions())
    assert len(lines) > 250
    source = tmp_path / "layouts.c"
    source.write_text(RUN % "\n".join(lines))

    program = toolchain.build(cc, tmp_path, source, "layouts")

    done = subprocess.run([program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    descriptor = LAYOUTS["mach_msg_port_descriptor_t"]["bytes"]
    assert (descriptor["disposition"], descriptor["type"]) == ([10, 1], [11, 1])
