"""One home for severities: the words, order and colors elsewhere agree with it."""

from __future__ import annotations

import re
from importlib.resources import files

import click
import pytest

from excguard.knowledge.severity import Severity


def test_members_are_in_order() -> None:
    assert [severity.order for severity in Severity] == [0, 1, 2, 3]
    assert list(Severity) == [Severity.numbered(order) for order in range(4)]
    assert {Severity.numbered(4), Severity.numbered(-1), Severity.of(None)} == {Severity.UNKNOWN}


@pytest.mark.parametrize("severity", Severity)
def test_a_severity_is_its_word(severity: Severity) -> None:
    assert severity == severity.value == str(severity) == f"{severity}" == severity.name.lower()
    assert Severity.of(severity.value) is severity
    assert click.style("x", fg=severity.color)


def test_a_word_in_no_table_is_refused() -> None:
    with pytest.raises(ValueError, match="lethal"):
        Severity.of("lethal")


def test_the_c_core_numbers_them_alike() -> None:
    lib = pytest.importorskip("excguard.native").lib

    for severity in Severity:
        assert severity.order == getattr(lib, f"EXCGUARD_SEVERITY_{severity.name}")


def test_the_page_has_them_all_worst_first() -> None:
    page = files("excguard.web").joinpath("page")
    document = page.joinpath("page.html").read_text(encoding="utf-8")
    worst_first = list(reversed(Severity))

    assert worst_first == re.findall(r'data-severity="(\w+)"', document)
