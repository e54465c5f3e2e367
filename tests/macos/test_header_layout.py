"""The simulator's headers, and the wire structs that we build on them, say what Apple's headers say.

The facts are read out of our headers by the compiler (header_facts.py), with the values that a build for
Linux sees, and then asserted, at compile time, with the SDK's headers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.macos import cross
from tests.macos.header_facts import RENAMED, Headers, failing_lines, object_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.macos.conftest import Sdk
    from tests.macos.header_facts import Fact

SIMULATOR = cross.ROOT / "daemon" / "simulator" / "include"
NATIVE = cross.ROOT / "daemon" / "excguard" / "native"
GUARD = cross.ROOT / "daemon" / "excguard" / "knowledge" / "c_decoder"
COPIES = (
    NATIVE / "newer_constants.h",
    cross.ROOT / "daemon" / "excguard" / "client" / "excguard_client.c",
    cross.ROOT / "tests" / "conformance" / "programs" / "scenario.h",
)
"""Files that define constants where an older SDK lacks them."""
SIMULATED_RELEASE = "26.4"

OURS_ALONE = {"excsim.h"}
"""Headers of the simulator that macOS has no counterpart of."""

NOT_IN_SDK = {
    "servers/bootstrap.h": "not in ziglang's excerpt of the SDK; its symbols are in libSystem's list",
    "bsm/libbsm.h": "not in ziglang's excerpt of the SDK; of libbsm, which the product does not use",
    "mach_reply_port()": "in libSystem's list; declared in no public header (osfmk/mach/mach_traps.h)",
}
"""Headers and facts that no SDK of ziglang's has -> why."""

CHANGED = {
    r"kGUARD_EXC_EXCEPTION_BEHAVIOR_ENFORCE": "1<<24 in 14.0 and 14.1, 6 since (osfmk/mach/port.h)",
    r"kGUARD_EXC_REQUIRE_REPLY_PORT_SEMANTICS": "1<<23 up to 15.x, 0xa on 26 (osfmk/mach/port.h)",
    r"MPG_FLAGS_MOD_REFS_PINNED_\w+": "n<<56 up to 15.x, a plain number on 26 (osfmk/mach/port.h)",
}
"""Facts that were otherwise before the simulated release (regular expressions) -> how."""

MACROS_WITHOUT_A_NUMBER = {
    "KERNEL_SECURITY_TOKEN_VALUE": "an initializer: test_initializers",
    "KERNEL_AUDIT_TOKEN_VALUE": "an initializer: test_initializers",
    r"_STRUCT_\w+": "another name of a struct, whose layout is asserted",
    r"ts_(32|64)": "another name of a member, whose place is asserted",
    r"task_[gs]et_bootstrap_port": "calls task_get_special_port and task_set_special_port",
    r"pthread_threadid_np": "casts an argument for the function, whose prototype is asserted",
    r"mach_task_self|current_task": "reads mach_task_self_",
}
"""Macros of our headers that are not integers (regular expressions) -> why that leaves nothing unchecked."""


def header_names(directory: Path) -> list[str]:
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*.h") if path.name not in OURS_ALONE
    )


def matches(name: str, patterns: dict[str, str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


class Comparison:
    """Our headers for one architecture beside an SDK's."""

    def __init__(self, sdk: Sdk, arch: str, simulator: Path = SIMULATOR) -> None:
        names = header_names(simulator)
        self.ours = Headers([simulator], names, sdk.linux_clang(arch))
        self.prologue = "".join(f"#include <{name}>\n" for name in names if name not in NOT_IN_SDK)
        self.apple = sdk.clang(arch)

    def disagreements(self) -> Iterator[tuple[Fact, str]]:
        """The facts that do not hold with Apple's headers, and the compiler's words."""
        text, facts = self.ours.assertions()
        first = self.prologue.count("\n") + 1
        for line, message in failing_lines(self.apple, self.prologue + text).items():
            yield facts[line - first], message


@pytest.fixture(scope="session")
def comparison(sdk: Sdk, arch: str) -> Comparison:
    return Comparison(sdk, arch)


def unexplained(comparison: Comparison, *, older: bool) -> list[str]:
    """Disagreements that nothing above accounts for; `older`: the SDK is older than the simulated release."""
    found = []
    for fact, message in comparison.disagreements():
        absent = "static assertion failed" not in message
        if fact.header in NOT_IN_SDK or fact.name in NOT_IN_SDK:
            continue
        if older and (absent or matches(fact.name.partition("(")[0], CHANGED)):
            continue
        found.append(f"{fact.header}: {fact.name}: {message}")
    return found


def test_every_fact_of_the_simulators_headers_is_apples(comparison: Comparison) -> None:
    """Each constant, size, offset, signedness and prototype, against the SDK of the simulated release."""
    assert len(comparison.ours.facts) > 1000
    assert unexplained(comparison, older=False) == []


def test_no_macro_is_left_unchecked(comparison: Comparison) -> None:
    """Beside those above only macros that rename a function, whose prototype is asserted."""
    unchecked = {
        name: text
        for name, text in comparison.ours.skipped.items()
        if text != f"{RENAMED}{name}" and not matches(name, MACROS_WITHOUT_A_NUMBER)
    }
    assert unchecked == {}


def test_bit_fields_lie_where_apples_do(comparison: Comparison) -> None:
    """A bit-field has no offset to assert: objects in which it alone is set have the same bytes."""
    definitions = "".join(comparison.ours.bit_fields.values())
    ours = object_bytes(comparison.ours.clang, comparison.ours.prologue + definitions)
    apples = object_bytes(comparison.apple, comparison.prologue + definitions)

    assert ours == apples
    assert ours.keys() == comparison.ours.bit_fields.keys()
    assert all(any(content) for content in ours.values())


def test_initializers(comparison: Comparison) -> None:
    """Macros that initialize a struct give the same bytes."""
    definitions = (
        "extern const security_token_t security_1; extern const audit_token_t audit_1;\n"
        "const security_token_t security_1 = KERNEL_SECURITY_TOKEN_VALUE;\n"
        "const audit_token_t audit_1 = KERNEL_AUDIT_TOKEN_VALUE;\n"
    )
    ours = object_bytes(comparison.ours.clang, comparison.ours.prologue + definitions)
    apples = object_bytes(comparison.apple, comparison.prologue + definitions)

    assert ours == apples
    assert ours["security_1"] == bytes(4) + b"\1" + bytes(3)
    assert ours["audit_1"] == bytes(32)


def test_our_copies_of_newer_constants_are_apples(sdk: Sdk, arch: str) -> None:
    """What the sources define for SDKs that lack it, asserted with one that has it."""
    text = "".join(path.read_text() for path in COPIES)
    ours = dict(re.findall(r"#ifndef \w+ .*\n#define (\w+) (\w+)", text))
    lines = ["#include <mach/exception_types.h>", "#include <mach/port.h>"]
    lines += [f'_Static_assert({name} == {value}, "{name}");' for name, value in ours.items()]

    assert ours.keys() > {"EXCEPTION_STATE_IDENTITY_PROTECTED", "MPO_EXCEPTION_PORT"}
    assert failing_lines(sdk.clang(arch), "\n".join(lines) + "\n") == {}


def test_our_own_layouts_are_the_same_on_macos(sdk: Sdk, arch: str) -> None:
    """Wire structs, journal records, messages: each size, offset and constant of our headers."""
    simulated = [*sdk.linux_clang(arch), f"-I{SIMULATOR}"]
    directories = [NATIVE, GUARD]
    names = [name for directory in directories for name in header_names(directory)]
    names.remove("core_prelude.h")  # only includes the others, and what no SDK of ziglang's has
    ours = Headers(directories, names, simulated)
    text, facts = ours.assertions()
    first = ours.prologue.count("\n") + 1
    failures = failing_lines([*sdk.clang(arch), *(f"-I{path}" for path in directories)], ours.prologue + text)

    assert len(facts) > 300
    assert {facts[line - first].name: message for line, message in failures.items()} == {}


@pytest.mark.slow
def test_every_sdk_agrees(each_sdk: Sdk, arch: str) -> None:
    """Older SDKs may lack names and have the few that changed; newer ones may not."""
    older = float(each_sdk.version) < float(SIMULATED_RELEASE)
    assert unexplained(Comparison(each_sdk, arch), older=older) == []
