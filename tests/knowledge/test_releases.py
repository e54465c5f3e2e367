"""Every way to name a release."""

import csv
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excguard.knowledge import releases


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("14.4", 140400),
        ("14", 140000),
        ("14.4.1", 140401),
        ("26.4", 260400),
        ("10.13.6", 101306),
        ("macOS 14.4", 140400),
        ("macos 15.0", 150000),
        ("MacOS Sequoia 15.0.1", 150001),
        ("macOS Tahoe 26.4 (25E246)", 260400),
        ("Mac OS X 10.9.3 (13D65)", 100903),
        ("OS X 10.11.6", 101106),
        ("macOS 14.4 (23E5180j)", 140400),
        ("macOS 14.0 (24A5298h)", 150000),  # a seed of 15 that has the label 14: the build decides
        ("23E214", 140400),
        ("23G93", 140600),
        ("22A380", 130000),
        ("22E261", 130300),
        ("21A559", 120000),
        ("21H1320", 120600),
        ("20B29", 110000),
        ("20E232", 110300),
        ("19A583", 101500),
        ("18G103", 101406),
        ("13D65", 100903),
        ("24E248", 150400),
        ("25C56", 260200),
        ("25F84", 260500),
        ("25E246", 260400),
        ("iOS 17.4", 140400),
        ("iPhone OS 12.1.2 (16C101)", 101401),
        ("iPhone OS 10.1.1 (14B100)", 101201),
        ("iOS 9.1", 101101),
        ("iOS 14.5", 110300),
        ("iOS 15.4", 120300),
        ("iOS 26.4 (23E246)", 260400),
        ("iPadOS 18.1", 150100),
        ("watchOS 10.4", 140400),
        ("visionOS 2.4", 150400),
        ("visionOS 1.1", 140400),
        ("visionOS 1.2", 140500),
        ("tvOS 17.0", 140000),
        ("Darwin 25.6.0", 260600),
        ("Darwin 23.4.0", 140400),
        ("Darwin Kernel Version 21.6.0: Mon Jun 24 00:56:10 PDT 2024", 120500),
        ("Darwin 18.7.0", 101406),
        ("Darwin 13.0.0", 100900),
        ("Version 14.4 (Build 23E214)", 140400),
        ("xnu-10063.101.15", 140400),
        ("xnu-10063.101.15~2/RELEASE_ARM64_T6000", 140400),
        ("root:xnu-11417.140.69~1/RELEASE_X86_64", 150600),
        ("xnu-12377.101.15", 260400),
        ("xnu-12377.1.9", 260000),
        ("xnu-4903.241.1", 101403),
        ("Darwin 25.0.0", 260000),
        ("Darwin 27.0.0", 270000),
        ("Darwin Kernel Version 27.2.0: Fri Oct  2 19:00:00 PDT 2026; root:xnu-13432.40.6~1", 270200),
        ("xnu-13432.1.9", 270000),
        ("xnu-13432.2.10", 270000),  # of iOS 27.0.1
        ("xnu-13432.40.6", 270200),  # there is no 27.1
        ("xnu-13432.0.4", 270000),
        ("xnu-13361.0.1", 270000),  # a beta
        ("xnu-12377.41.6", 260100),
        ("xnu-12377.121.6", 260500),
        ("xnu-12345.0.1", 260000),
        ("xnu-11417.140.1", 150600),
        ("xnu-10002.40.1", 140100),
        ("xnu-8792.61.9", 130100),
        ("xnu-8019.41.9", 120001),
        ("26A123", 270000),
        ("26A5388g", 270000),
        ("26B5086k", 270200),
        ("macOS 27.0 (26A5388g)", 270000),
        ("iOS 27.0.1", 270000),
        ("xnu-20000.1.1", 270000),
        ("28.1", 280100),
    ],
)
def test_placed(text: str, expected: int) -> None:
    assert expected == releases.parse(text).version


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yes",
        "macOS",
        "16.0",
        "macOS 20.1",
        "iOS 5.0",
        "iOS 20",
        "Darwin 12.0",
        "Darwin 26.0.0",
        "10K549",
        "xnu-1.2",
        "14.4x",
        "\0",
        "9" * 5000,
    ],
)
def test_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(releases.ReleaseError) as caught:
        releases.parse(text)

    assert len(str(caught.value)) < 300


def test_every_xnu_of_the_table_is_its_macos() -> None:
    for known in releases.known():
        if known.xnu:
            text = "xnu-" + ".".join(map(str, known.xnu))

            assert known.version == releases.parse(text).version


def test_a_kernel_newer_than_the_tables_is_said_to_be_one() -> None:
    newest = releases.known()[-1]
    found = releases.parse("xnu-99999.1.1")

    assert found.version == newest.version
    assert "newer than the tables" in found.note


@given(st.sampled_from([known for known in releases.known() if known.xnu]), st.integers(0, 9))
def test_kernels_beside_a_listed_one_are_of_its_release_or_a_neighbor(
    known: releases.KnownRelease, step: int
) -> None:
    """Security updates and betas change the last number only."""
    text = "xnu-" + ".".join(map(str, (*known.xnu[:2], known.xnu[2] + step)))
    found = releases.parse(text).version

    assert found == known.version or releases.parse(text).note.startswith(f"{text} is macOS")


def test_every_row_has_its_source() -> None:
    tables = resources.files("excguard.knowledge")
    for name in ("releases.csv", "port_types.csv", "syscalls.csv", "severity.csv"):
        with tables.joinpath(name).open(encoding="ascii") as file:
            assert all(row["source"] for row in csv.DictReader(file)), name


def test_versions_show_as_they_are_written() -> None:
    assert [known.macos for known in releases.known()] == [
        releases.show(known.version) for known in releases.known()
    ]


@pytest.mark.parametrize("row", [row for row in releases.known() if row.xnu], ids=lambda row: row.macos)
def test_a_listed_kernel_confirms_its_own_release_and_no_other(row: releases.KnownRelease) -> None:
    kernel = f"Darwin Kernel Version 1.2.3: root:xnu-{'.'.join(map(str, row.xnu))}~1/RELEASE_ARM64_T6000"
    other = "13.1" if row.macos != "13.1" else "13.2"

    assert releases.doubt(row.macos, kernel) is None
    assert f"is the kernel of macOS {row.macos}" in str(releases.doubt(other, kernel))


@pytest.mark.parametrize(
    ("release", "kernel"),
    [("26.4.1", "xnu-12377.101.15~1"), ("26.6", "xnu-12377.141.1"), ("14.4", "simulated"), ("27.0.1", "")],
)
def test_a_kernel_that_is_not_listed_casts_no_doubt(release: str, kernel: str) -> None:
    assert releases.doubt(release, kernel) is None


def test_a_release_newer_than_the_tables_is_in_doubt() -> None:
    assert "newer than the tables" in str(releases.doubt("28.0", "xnu-14500.1.1"))
