"""What launchd refuses, and what it loads and cannot start, is said before it happens."""

import os
import plistlib
from pathlib import Path

import pytest

from excguard.launchd.refusals import contradictions, exchangeable, refusals

OWNER = os.getuid()


@pytest.fixture
def contents(program: list[str], tmp_path: Path) -> dict:
    return {
        "Label": "a.b",
        "ProgramArguments": [*program, "serve"],
        "StandardErrorPath": str(tmp_path / "log"),
    }


def written(directory: Path, contents: object) -> Path:
    path = directory / "a.b.plist"
    path.write_bytes(plistlib.dumps(contents))
    path.chmod(0o644)
    return path


def test_good_one_is_not_refused(contents, tmp_path) -> None:
    assert list(refusals(written(tmp_path, contents), owner=OWNER)) == []


@pytest.mark.parametrize(("mode", "text"), [(0o664, "664"), (0o646, "646"), (0o666, "666")])
def test_writable_by_others(contents, tmp_path, mode: int, text: str) -> None:
    path = written(tmp_path, contents)
    path.chmod(mode)
    (problem,) = refusals(path, owner=OWNER)

    assert f"users other than its owner may write to it (mode {text}); chmod 644 {path}" in problem


def test_owner_must_be_root_or_the_user(contents, tmp_path, monkeypatch) -> None:
    path = written(tmp_path, contents)
    real = Path.lstat

    def lstat(self):
        return os.stat_result((*real(self)[:4], 502, *real(self)[5:10]))

    monkeypatch.setattr(Path, "lstat", lstat)
    assert [p.split("; ")[1] for p in refusals(path, owner=501)] == [f"sudo chown 501 {path}"]
    assert list(refusals(path, owner=502)) == []


@pytest.mark.parametrize(
    "raw",
    [b"", b"hello", b"<plist>", b"\xff\xfe", b"bplist00garbage", b"<plist><integer>x</integer></plist>"],
)
def test_no_property_list(tmp_path, raw: bytes) -> None:
    path = tmp_path / "a.plist"
    path.write_bytes(raw)
    path.chmod(0o600)
    (problem,) = refusals(path, owner=OWNER)

    assert f"{path}: not a property list" in problem
    assert "\n" not in problem


def test_other_kinds_of_file(contents, tmp_path) -> None:
    path = written(tmp_path, contents)
    (tmp_path / "link.plist").symlink_to(path)

    assert ["not a regular file" in p for p in refusals(tmp_path / "link.plist", owner=OWNER)] == [True]
    assert ["no such file" in p for p in refusals(tmp_path / "none.plist", owner=OWNER)] == [True]
    assert ["contains no dictionary" in p for p in refusals(written(tmp_path, ["a"]), owner=OWNER)] == [True]
    other = path.rename(tmp_path / "a.xml")
    assert "rename it" in next(iter(refusals(other, owner=OWNER)))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"Label": None}, "Label: missing"),
        ({"ProgramArguments": None}, "no program to start"),
        ({"ProgramArguments": []}, "ProgramArguments: not a list of text"),
        ({"ProgramArguments": ["bin/excguard"]}, "ProgramArguments: 'bin/excguard' is not an absolute path"),
        ({"Program": "excguard"}, "Program: 'excguard' is not an absolute path"),
        ({"Program": "/nowhere/excguard"}, "Program: /nowhere/excguard: no such file"),
        ({"Program": "/"}, "not a file"),
        ({"StandardErrorPath": "~/log"}, "StandardErrorPath: '~/log' is not an absolute path"),
        ({"StandardErrorPath": "/nowhere/log"}, "directory /nowhere does not exist; mkdir -p /nowhere"),
        ({"WorkingDirectory": "/nowhere"}, "directory /nowhere does not exist"),
        ({"ExitTimeOut": 0}, "ExitTimeOut: 0"),
    ],
)
def test_contradictions(contents, change: dict, part: str) -> None:
    changed = {key: value for key, value in {**contents, **change}.items() if value is not None}
    problems = list(contradictions(changed))

    assert any(part in problem for problem in problems), problems
    assert len(problems) <= 2


def test_missing_interpreter_is_named(contents, program) -> None:
    Path(program[0]).write_text("#!/gone/venv/bin/python3 -I\n")
    (problem,) = contradictions(contents)

    assert "is run by /gone/venv/bin/python3, which does not exist" in problem


def test_program_without_the_right_to_run(contents, program) -> None:
    Path(program[0]).chmod(0o644)
    (problem,) = contradictions(contents)

    assert f"chmod +x {program[0]}" in problem


@pytest.mark.skipif(OWNER != 0, reason="the files of others than root are never fit")
def test_what_root_runs_belongs_to_root_on_all_its_way(program, tmp_path) -> None:
    assert list(exchangeable(Path(program[0]))) == []
    directory = tmp_path / "open"
    directory.mkdir()
    moved = Path(program[0]).rename(directory / "excguard")
    directory.chmod(0o775)
    link = tmp_path / "link"
    link.symlink_to(moved)

    assert [problem.split(":")[0] for problem in exchangeable(link)] == [str(directory)]
    directory.chmod(0o1777)
    assert list(exchangeable(link)) == []
    os.chown(moved, 65534, -1)
    assert [problem.split(":")[0] for problem in exchangeable(moved)] == [str(moved)]


def test_interpreter_counts_too(program, tmp_path) -> None:
    shared = tmp_path / "python"
    shared.touch()
    shared.chmod(0o777)
    Path(program[0]).write_text(f"#!{shared}\n")

    assert str(shared) in [problem.split(":")[0] for problem in exchangeable(Path(program[0]))]


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        ("077", "write 77, or 63 for octal 077"),
        ("08", "write 8"),
        (" 0010\n", "write 10, or 8 for octal 0010"),
    ],
)
def test_integers_that_readers_take_differently(contents, tmp_path, number: str, advice: str) -> None:
    path = written(tmp_path, contents | {"Umask": 5})
    path.write_text(path.read_text().replace("<integer>5<", f"<integer>{number}<"))

    assert list(refusals(path, owner=OWNER)) == [
        f"{path}: <integer>{number.strip()}</integer>: some readers take leading zeros for octal; {advice}"
    ]
