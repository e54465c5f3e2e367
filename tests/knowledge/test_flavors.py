"""The flavor tables: names and severities by release."""

import subprocess
import sys
from pathlib import Path

import pytest

from excguard.knowledge import flavors, generate_c, guards, releases

NEWEST = releases.NEWEST


@pytest.mark.parametrize(
    "flavor", [f for f in flavors.table() if f.role == "flavor"], ids=lambda f: f"{f.kernel_name}-{f.first}"
)
def test_every_row_is_found_on_its_first_and_last_release(flavor: flavors.Flavor) -> None:
    assert flavor in flavors.at(flavor.guard_type, flavor.value, flavor.first)
    assert flavor in flavors.at(flavor.guard_type, flavor.value, flavor.last)


@pytest.mark.parametrize(
    ("guard_type", "value", "release", "expected"),
    [
        ("MACH_PORT", 0x10000, 101406, ["SEND_INVALID_REPLY", "SEND_INVALID_VOUCHER"]),
        ("MACH_PORT", 0x10000, 101500, ["SEND_INVALID_REPLY"]),
        ("MACH_PORT", 0x20000, 101406, ["SEND_INVALID_RIGHT"]),
        ("MACH_PORT", 0x20000, 101500, ["SEND_INVALID_VOUCHER"]),
        ("MACH_PORT", 0x40000, 101403, ["RCV_INVALID_NAME"]),
        ("MACH_PORT", 0x40000, 150500, ["SEND_INVALID_RIGHT"]),
        ("MACH_PORT", 0x80000, 101401, ["RCV_INVALID_NOTIFY"]),
        ("MACH_PORT", 0x80000, NEWEST, ["RCV_INVALID_NAME"]),
        ("MACH_PORT", 0x6, 140100, []),
        ("MACH_PORT", 0x6, 140200, ["EXCEPTION_BEHAVIOR_ENFORCE"]),
        ("MACH_PORT", 0x1000000, 140100, ["EXCEPTION_BEHAVIOR_ENFORCE"]),
        ("MACH_PORT", 0x1000000, 140200, []),
        ("MACH_PORT", 0x800000, 150500, ["REQUIRE_REPLY_PORT_SEMANTICS"]),
        ("MACH_PORT", 0x800000, 150700, ["REQUIRE_REPLY_PORT_SEMANTICS"]),
        ("MACH_PORT", 0x800000, 260000, []),
        ("MACH_PORT", 0xA, 150500, []),
        ("MACH_PORT", 0xA, 150600, ["REQUIRE_REPLY_PORT_SEMANTICS"]),
        ("MACH_PORT", 0xA, 260000, ["REQUIRE_REPLY_PORT_SEMANTICS"]),
        ("MACH_PORT", 0x100007, 260400, ["MACH_EXC_THREAD_SET_STATE"]),
        ("MACH_PORT", 0x100007, 270000, []),
        ("MACH_PORT", 0xC, 260400, []),
        ("MACH_PORT", 0xC, 270000, ["MACH_EXC_THREAD_SET_STATE"]),
        ("MACH_PORT", 0x100002, 260000, ["PROVISIONAL_REPLY_PORT"]),
        ("MACH_PORT", 0x100002, 260400, ["WEAK_REPLY_PORT"]),
        ("VIRT_MEMORY", 0x10, 150400, ["SEC_COPY_DENIED"]),
        ("VIRT_MEMORY", 0x10, 260400, []),
        ("VIRT_MEMORY", 0x10, 270000, ["LARGE_ALLOCATION_TELEMETRY"]),
        ("VIRT_MEMORY", 0xD, 260400, ["LARGE_ALLOCATION_TELEMETRY"]),
        ("VIRT_MEMORY", 0xD, 270000, ["COW_DEFEATURED_COPY_DENIED"]),
        ("MACH_PORT", 0x200, 101306, []),
        (
            "MACH_PORT",
            0x200,
            101400,
            ["INVALID_NAME"],
        ),  # between two kernels that were read: it must have known it
        ("MACH_PORT", 0x1, 0, ["DESTROY"]),
        ("MACH_PORT", 0x1, NEWEST, ["DESTROY"]),
        ("MACH_PORT", 0x44, NEWEST, []),
    ],
)
def test_one_number_is_named_by_its_release(
    guard_type: str, value: int, release: int, expected: list[str]
) -> None:
    assert expected == [flavor.name for flavor in flavors.at(guard_type, value, release)]


@pytest.mark.parametrize(
    ("guard_type", "value", "release", "expected"),
    [
        ("MACH_PORT", 0x1, 100900, "fatal"),
        ("MACH_PORT", 0x40, 110299, "fatal"),
        ("MACH_PORT", 0x80, 110200, "optional"),
        ("MACH_PORT", 0x80, 110300, "fatal"),
        ("MACH_PORT", 0x81, NEWEST, "optional"),
        ("MACH_PORT", 0x80000, NEWEST, "optional"),
        ("MACH_PORT", 0x80001, NEWEST, "soft"),
        ("FD", 0x1, NEWEST, "fatal"),
        ("USER", 0, NEWEST, "soft"),
        ("VN", 0x40, NEWEST, "fatal"),
        ("VN", 0x80, NEWEST, "soft"),
        ("VIRT_MEMORY", 0x2, 150500, "fatal"),
        ("VIRT_MEMORY", 0xC8, 260400, "fatal"),
        ("VIRT_MEMORY", 0xD, 260400, "soft"),
        ("VIRT_MEMORY", 0xD, 270000, "optional"),
        ("VIRT_MEMORY", 0x10, 270000, "soft"),
        ("VIRT_MEMORY", 0xFFFF, NEWEST, "optional"),
        ("VIRT_MEMORY", 0x1, NEWEST, "optional"),
        ("REJECTED_SC", 0, NEWEST, "optional"),
        ("NOT_A_TYPE", 0, NEWEST, None),
    ],
)
def test_severity_by_range(guard_type: str, value: int, release: int, expected: str | None) -> None:
    assert expected == flavors.severity(guard_type, value, release)


def test_c_rows_answer_as_the_tables_do() -> None:
    """On every release at which anything changes, and beside it."""
    rows = generate_c.rows()
    edges = {0, NEWEST} | {r.version for r in releases.known()}
    edges |= {max(0, edge - 1) for edge in edges} | {min(NEWEST, edge + 1) for edge in edges}
    for guard_type, value in {(f.guard_type, f.value) for f in flavors.table()}:
        for release in edges:
            matching = [
                row
                for row in rows
                if row.guard_type == guards.NUMBERS[guard_type]
                and row.flavor == value
                and row.first_release <= release <= row.last_release
            ]
            names = flavors.at(guard_type, value, release)
            expected = [(names[0].kernel_name, flavors.severity(guard_type, value, release))] if names else []

            assert expected == [(row.kernel_name, row.severity) for row in matching]


def test_the_generator_runs_by_path_alone(tmp_path: Path) -> None:
    out = tmp_path / "guard_table.h"
    subprocess.run([sys.executable, "-I", "-S", generate_c.__file__, out], check=True, cwd=tmp_path)

    assert generate_c.header() == out.read_text()
