"""Names of targets and their numbers: lasting, and on disk before they are used."""

import json
from pathlib import Path

import pytest

from excguard.pipeline.journal import JournalError
from excguard.pipeline.target_names import TargetNames


def test_names_get_lasting_numbers(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    names = TargetNames(journal, used=[])
    assert names.number(["a", "b"]) == [1, 2]

    again = TargetNames(journal, used=[1, 2])
    assert again.number(["b", "c", "b"]) == [2, 3, 2]
    assert [again.name(number) for number in (1, 2, 3)] == ["a", "b", "c"]


def test_table_is_on_disk_when_a_number_is_given_out(tmp_path: Path) -> None:
    names = TargetNames(tmp_path / "journal", used=[])
    names.number(["mail"])

    assert json.loads((tmp_path / "journal.targets.json").read_text())["targets"] == {"mail": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["journal.targets.json"]


def test_number_of_a_lost_table_is_not_given_to_another_name(tmp_path: Path) -> None:
    names = TargetNames(tmp_path / "journal", used=[3, 7])

    assert names.number(["new"]) == [8]
    assert names.name(3) == "target-3"


@pytest.mark.parametrize("name", ["", '"', "a\nb", "\N{PILE OF POO}", "x" * 10_000, "\x00"])
def test_any_name_survives(tmp_path: Path, name: str) -> None:
    TargetNames(tmp_path / "journal", used=[]).number([name])

    assert TargetNames(tmp_path / "journal", used=[]).number([name]) == [1]


DAMAGED = [
    *(b"", b"{", b"[]", b'{"targets": {"a": "b"}}', b'{"other": 1}', b"\xff"),
    *(b'{"targets": {"\xff": 1}}', b'{"\xff": 1}', b'{"targets":' * 100_000),
    *(b'{"targets": {"a": 0}}', b'{"targets": {"a": 4294967296}}'),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_table_is_set_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal.targets.json").write_bytes(content)
    names = TargetNames(tmp_path / "journal", used=[3])

    kept, problem = names.set_aside
    assert kept.read_bytes() == content
    assert kept.name.startswith("journal.targets.json.damaged-")
    assert problem
    assert "\n" not in problem
    assert names.number(["new"]) == [4]


def test_table_that_can_neither_be_read_nor_set_aside_is_one_line_with_a_way_out(
    tmp_path: Path, monkeypatch
) -> None:
    def forbidden(_path: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("excguard.pipeline.target_names.set_aside", forbidden)
    (tmp_path / "journal.targets.json").write_bytes(b"{")
    with pytest.raises(
        JournalError, match=r"journal\.targets\.json: cannot be read: .*move it away"
    ) as caught:
        TargetNames(tmp_path / "journal", used=[])

    assert "\n" not in str(caught.value)


def test_table_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    names = TargetNames(tmp_path / "none" / "journal", used=[])
    with pytest.raises(JournalError, match="cannot be written: no such file or directory"):
        names.number(["a"])


def test_number_is_used_only_when_it_is_on_disk(tmp_path: Path) -> None:
    names = TargetNames(tmp_path / "journal", used=[])
    names.add(["mail", "mail"])
    assert names.saved("mail") is None

    names.save()

    assert names.saved("mail") == 1
    assert TargetNames(tmp_path / "journal", used=[]).saved("mail") == 1


def test_table_that_could_not_be_written_is_written_the_next_time(tmp_path: Path) -> None:
    names = TargetNames(tmp_path / "state" / "journal", used=[])
    for _ in range(2):
        with pytest.raises(JournalError, match="cannot be written"):
            names.number(["mail"])
    (tmp_path / "state").mkdir()

    assert names.number(["mail"]) == [1]
    assert json.loads(names.path.read_text())["targets"] == {"mail": 1}


def test_new_names_get_free_numbers_when_a_file_has_given_out_the_last(tmp_path: Path) -> None:
    (tmp_path / "journal.targets.json").write_text('{"targets":{"a":4294967295,"b":2}}')
    names = TargetNames(tmp_path / "journal", used=[1])

    assert names.number(["c", "d", "e"]) == [3, 4, 5]
