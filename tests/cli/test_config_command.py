"""`excguard config`: check, show and path."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from excguard import config as configuration
from excguard.cli import main

FULL = """
reply = "consume"
[log]
path = "log/hits.jsonl"
window = 12.5
[unified_log]
enabled = false
[[target]]
name = "mail"
command = ["bin/mail", "--quote='\\"'"]
environment = { A = "1", "B C" = "]" }
[[target]]
name = "maps"
command = ["maps"]
[[ignore]]
flavor = "INVALID_*"
reason = "vendor"
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["config", *arguments], standalone_mode=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "excguard.toml"
    path.write_text(FULL)
    return path


def test_a_valid_configuration(file: Path) -> None:
    result = run("check", "--config", str(file))

    assert result.output == f"{file}: valid; watches mail, maps\n"
    assert json.loads(run("check", "--json", "--config", str(file)).output) == {
        "path": str(file),
        "valid": True,
        "error": None,
        "line": None,
        "key": None,
        "targets": ["mail", "maps"],
        "deprecated": [],
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "valid; has nothing to watch: `excguard serve` needs a [[target]]"),
        ('[crash_reports]\nprocesses = ["*"]', "valid; watches the processes that its sources name"),
    ],
)
def test_a_configuration_without_targets(file: Path, text: str, words: str) -> None:
    file.write_text(text)

    assert run("check", "--config", str(file)).output == f"{file}: {words}\n"


def test_an_invalid_one_is_named_by_line_and_key(file: Path) -> None:
    file.write_text("[log]\n\nwindow = 0\n")
    result = run("check", "--config", str(file))
    found = json.loads(run("check", "--json", "--config", str(file)).output)

    assert result.exit_code != 0
    assert str(result.exception).startswith(f"{file}: line 3: log.window: 0 cannot be used")
    assert (found["valid"], found["line"], found["key"]) == (False, 3, "log.window")
    assert found["error"] == str(result.exception)


def test_a_line_of_bad_syntax_is_named(file: Path) -> None:
    file.write_text("[log]\nwindow = \n")
    found = json.loads(run("check", "--json", "--config", str(file)).output)

    assert (found["valid"], found["line"], found["key"]) == (False, 2, None)


def test_an_old_name_is_reported(file: Path) -> None:
    file.write_text('[crash_reports]\nfolders = ["/a"]\n')
    found = json.loads(run("check", "--json", "--config", str(file)).output)

    assert found["deprecated"] == [
        f"{file}: [crash_reports]: folders is deprecated; it is now named directories"
    ]


def test_what_is_shown_is_the_same_configuration(file: Path, tmp_path: Path) -> None:
    shown = run("show", "--config", str(file)).output
    copy = tmp_path / "elsewhere" / "copy.toml"
    copy.parent.mkdir()
    copy.write_text(shown)

    assert configuration.load(copy) == configuration.load(file)
    assert f'path = "{tmp_path}/log/hits.jsonl"' in shown
    assert "capacity = 65536" in shown
    assert json.loads(run("show", "--json", "--config", str(file)).output)["log"]["window"] == 12.5


def test_a_secret_is_not_shown(file: Path) -> None:
    file.write_text('[webhook]\nurl = "https://hooks.example/very-secret"\n')
    for option in ((), ("--json",)):
        shown = run("show", *option, "--config", str(file)).output

        assert "(not shown)" in shown
        assert "hooks.example" not in shown


def test_the_defaults_are_shown(file: Path) -> None:
    file.write_text("")
    shown = run("show", "--config", str(file)).output

    assert configuration.parse(shown, file="", directory=file.parent) == configuration.Config()


@pytest.mark.parametrize("verb", ["check", "show"])
def test_a_missing_file_is_named(tmp_path: Path, verb: str) -> None:
    result = run(verb, "--config", str(tmp_path / "none.toml"))

    assert str(result.exception) == (
        f"{tmp_path}/none.toml: cannot be read: no such file or directory; "
        "create it, or name another file with --config"
    )


def test_path_is_where_serve_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("excguard.config.default_path", lambda: tmp_path / "config.toml")

    assert run("path").output == f"{tmp_path}/config.toml\n"
    assert json.loads(run("path", "--json").output) == {"path": f"{tmp_path}/config.toml", "exists": False}
