"""The configuration file: the annotated one is accurate, and each error is one line."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from excguard.config import Config, ConfigError, Reply, Target, load, parse, parse_listen
from excguard.gate.verdict import IgnoreRule
from excguard.knowledge.exception_behavior import Behavior

ROOT = Path(__file__).parents[2]
MAIL = '[[target]]\nname = "mail"\ncommand = ["mail"]\n'


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, file="f.toml", directory=Path("/directory"))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_annotated_file_shows_every_key_with_its_default() -> None:
    text = (ROOT / "config.toml").read_text()
    raw = tomllib.loads(text)

    assert load(ROOT / "config.toml") == Config()
    assert msgspec.json.decode(msgspec.json.encode(Config())) == {**raw, "target": [], "ignore": []}


def test_annotated_example_of_a_target_shows_every_key_with_its_default() -> None:
    example = re.search(r"^# \[\[target\]\]\n(?:# .*\n)+", (ROOT / "config.toml").read_text(), re.MULTILINE)
    assert example is not None
    (raw,) = tomllib.loads(re.sub(r"^# ", "", example[0], flags=re.MULTILINE))["target"]

    default = Target(name=raw["name"], command=tuple(raw["command"]))
    assert raw == {**msgspec.to_builtins(default), "command": raw["command"]}


def test_annotated_example_of_a_rule_shows_every_key() -> None:
    example = re.search(r"^# \[\[ignore\]\]\n(?:# .*\n)+", (ROOT / "config.toml").read_text(), re.MULTILINE)
    assert example is not None
    text = re.sub(r"^# ", "", example[0], flags=re.MULTILINE)
    (raw,) = tomllib.loads(text)["ignore"]

    assert set(raw) == set(msgspec.to_builtins(IgnoreRule()))
    assert parse(text, file="", directory=ROOT).ignore[0].image == "libvendor*.dylib"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        # unknown keys
        ("frist = 1", ['unknown key "frist"', "allowed: behavior, reply, log"]),
        ("[log]\nfrist = 1", ['log: unknown key "frist"', "did you mean first?", "allowed: format, path"]),
        (MAIL + "restrat = 1", ['[[target]] "mail": unknown key "restrat"', "did you mean restart?"]),
        ('[[target]]\nnme = "x"', ['[[target]] number 1: unknown key "nme"']),
        # wrong types
        ('[log]\nfirst = "x"', ['log.first: "x"', "allowed: a whole number"]),
        ("[log]\nfirst = true", ["log.first: true", "allowed: a whole number"]),
        ("[log]\nwindow = nan", ["log.window: nan", "allowed: seconds"]),
        ("log = 3", ["log: 3", "a table with the keys format, path"]),
        ("target = 3", ["target: 3", "[[target]]"]),
        ("[target]\nname = 'x'", ["target: ", "a list of [[target]] tables"]),
        ("target = [3]", ["[[target]] number 1: 3", "a table with the keys name, command"]),
        (
            '[[target]]\nname = "a"\ncommand = "ls -l"',
            ['[[target]] "a" command: "ls -l"', "the program first"],
        ),
        ('[[target]]\nname = "a"\ncommand = [1]', ['[[target]] "a" command[1]: 1', "a list of text"]),
        (MAIL + "environment = {A = 1}", ['[[target]] "mail" environment: {"A": 1}', "a table of text"]),
        ("[metrics]\nlisten = 12012", ["metrics.listen: 12012", '"127.0.0.1:12012"']),
        ("[crash_reports]\nenabled = 1", ["crash_reports.enabled: 1", "true or false"]),
        ('[crash_reports]\ndirectories = "/a"', ['crash_reports.directories: "/a"', "a list of paths"]),
        ("[unified_log]\nprocesses = [1]", ["unified_log.processes[1]: 1", "a list of names of programs"]),
        ('[unified_log]\ncommand = "log"', ['unified_log.command: "log"', "a list of text"]),
        # values that cannot work
        ("[crash_reports]\nwait = -1", ["crash_reports.wait: -1", "seconds"]),
        ('[crash_reports]\ndirectories = ["a\\u0000"]', ["crash_reports.directories", "NUL"]),
        ('[unified_log]\ncommand = ["\\u0000"]', ["unified_log.command", "NUL"]),
        (
            'behavior = "default"',
            ['behavior: "default"', '"identity_protected" or "state_identity_protected"'],
        ),
        ('[log]\nformat = "xml"', ['log.format: "xml"', '"auto", "console" or "json"']),
        ("[log]\nfirst = -1", ["log.first: -1", "from 0 to 100000"]),
        ("[journal]\ncapacity = 3", ["journal.capacity: 3", "power of two from 1024 to"]),
        ("[journal]\ncapacity = 65535", ["journal.capacity: 65535", "power of two"]),
        ("".join(MAIL.replace("mail", f"m{n}") for n in range(129)), ["target: 129 targets", "at most 128"]),
        ('[metrics]\nlisten = "localhost"', ['metrics.listen: "localhost"', "HOST:PORT"]),
        ('[metrics]\nlisten = "localhost:99999"', ["metrics.listen", "HOST:PORT"]),
        ('[log]\npath = "a\\u0000b"', ["log.path", "NUL"]),
        ('[[target]]\nname = ""\ncommand = ["x"]', ["[[target]] number 1 name", "one character or more"]),
        ('[[target]]\nname = "a"', ['[[target]] "a": command is missing']),
        ('[[target]]\nname = "a"\ncommand = []', ['[[target]] "a" command: []', "the program first"]),
        ('[[target]]\nname = "a"\ncommand = [""]', ['[[target]] "a" command', "the program first"]),
        ('[[target]]\nname = "a"\ncommand = ["x", "\\u0000"]', ['[[target]] "a" command', "NUL"]),
        (MAIL + MAIL, ['[[target]] "mail" name: another target', "its own"]),
        (
            MAIL + 'restart = "sometimes"',
            ['"mail" restart: "sometimes"', '"never", "on_failure" or "always"'],
        ),
        (
            MAIL + 'registration = "both"\nguard_behavior = "MP_DELIVER|MP_ONCE"',
            ["guard_behavior: ", "MP_ONCE", "leave it out"],
        ),
        (MAIL + "restart_delay = 100", ["restart_delay: 100 s is more than restart_delay_max (60 s)"]),
        (MAIL + 'directory = "/nowhere at all"', ['directory: "/nowhere at all"', "an existing directory"]),
        (MAIL + 'environment = {"A=B" = "1"}', ['environment: {"A=B": "1"}', 'no "=" in the names']),
        # success with thread state would write that state back
        ('reply = "consume"\nbehavior = "state_identity_protected"', ["reply: ", "state back", "forward"]),
        (
            'behavior = "state_identity_protected"\n' + MAIL + 'reply = "consume"',
            ['[[target]] "mail" reply: ', "state back", "forward"],
        ),
        (
            'reply = "consume"\n' + MAIL + 'behavior = "state_identity_protected"',
            ['[[target]] "mail" reply: ', "state back", "forward"],
        ),
        # no TOML
        ("x =", ["not TOML", "Invalid value"]),
        ("a = " + "[" * 5000, ["nested too deeply"]),
        ("\n" + "a." * 100_000 + "a = 1", ["a key of more than 32 parts (at line 2)"]),
        ("[" + "a . 'b'." * 50_000 + "a]\nb = 1", ["a key of more than 32 parts (at line 1)"]),
        ("a = " + "9" * 5_000, ["not TOML", "digits"]),
        ("behavior = 'identity_protected'\nbehavior = 'x'", ["not TOML", "overwrite a value"]),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(text: str, parts: list[str]) -> None:
    message = refused(text)

    assert message.startswith("f.toml: ")
    for part in parts:
        assert part in message


def test_errors_stay_on_one_short_line_whatever_the_value_holds() -> None:
    message = refused('behavior = "' + "\\n\\u001b[31m" * 500 + '"')

    assert message.isprintable()
    assert len(message) < 250


@given(st.text(max_size=60))
def test_any_text_is_a_configuration_or_one_line(text: str) -> None:
    try:
        config = parse(text, file="f.toml", directory=Path("/"))
    except ConfigError as error:
        assert str(error).isprintable()  # noqa: PT017 - refusing is one of two right outcomes
    else:
        assert isinstance(config, Config)


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda _: None, "no such file"),
        (lambda path: path.mkdir(), "directory"),
        (lambda path: path.write_bytes(b"a = 1\n\xff"), "byte 6 is not UTF-8"),
    ],
)
def test_unreadable_file_is_named_with_the_reason(tmp_path: Path, make, part: str) -> None:
    path = tmp_path / "excguard.toml"
    make(path)
    with pytest.raises(ConfigError, match=re.escape(f"{path}: ")) as caught:
        load(path)

    assert part in str(caught.value)


def test_target_takes_behavior_and_reply_of_the_top_level_unless_it_has_its_own() -> None:
    config = parse(
        'reply = "consume"\n' + MAIL + '[[target]]\nname = "b"\ncommand = ["b"]\n'
        'behavior = "state_identity_protected"\nreply = "forward"',
        file="f.toml",
        directory=Path("/"),
    )
    mail, other = config.target

    assert (mail.behavior, mail.reply) == (Behavior.AUTO, Reply.CONSUME)
    assert (other.behavior, other.reply) == (Behavior.STATE_IDENTITY_PROTECTED, Reply.FORWARD)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            MAIL + 'attach = "both"',
            MAIL + 'registration = "both"',
            'f.toml: [[target]] "mail": attach is deprecated; it is now named registration',
        ),
        (
            '[crash_reports]\nfolders = ["/a"]',
            '[crash_reports]\ndirectories = ["/a"]',
            "f.toml: [crash_reports]: folders is deprecated; it is now named directories",
        ),
    ],
)
def test_old_names_of_keys_still_work_and_are_reported(old: str, new: str, line: str) -> None:
    lines: list[str] = []
    config = parse(old, file="f.toml", directory=Path("/"), on_deprecated=lines.append)

    assert config == parse(new, file="f.toml", directory=Path("/"))
    assert lines == [line]


def test_a_key_under_both_of_its_names_is_refused() -> None:
    message = refused(MAIL + 'attach = "both"\nregistration = "both"')

    assert message == (
        'f.toml: line 4: [[target]] "mail": attach and registration are the same key; '
        "remove attach, its old name"
    )


def test_relative_paths_start_at_the_directory_of_the_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    (tmp_path / "work").mkdir()
    (tmp_path / "f.toml").write_text(
        '[log]\npath = "log/hits.jsonl"\n[journal]\npath = "~/journal"\n'
        '[metrics]\nlisten = "unix:run/socket"\n'
        '[crash_reports]\ndirectories = ["reports", "~/Library/Logs/DiagnosticReports"]\n'
        '[[target]]\nname = "a"\ncommand = ["bin/tool", "bin/argument"]\ndirectory = "work"\n'
        '[[target]]\nname = "b"\ncommand = ["ls"]\n'
    )
    config = load(tmp_path / "f.toml")

    assert config.log.path == str(tmp_path / "log/hits.jsonl")
    assert config.journal.path == "/home/someone/journal"
    assert config.metrics.listen == f"unix:{tmp_path}/run/socket"
    assert config.crash_reports.directories == (
        str(tmp_path / "reports"),
        "/home/someone/Library/Logs/DiagnosticReports",
    )
    assert config.target[0].command == (str(tmp_path / "bin/tool"), "bin/argument")
    assert config.target[0].directory == str(tmp_path / "work")
    assert config.target[1].command == ("ls",)


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:12012", ("127.0.0.1", 12012)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65535)),
        ("::1:80", None),
        (":80", None),
        ("host:", None),
        ("host:65536", None),
        ("a b:80", None),
        ("http://a:80", None),
        ("unix:/run/excguard.sock", Path("/run/excguard.sock")),
        ("unix:/" + "x" * 102, Path("/" + "x" * 102)),
        ("unix:/" + "x" * 103, None),
        ("unix:relative", None),
        ("unix:", None),
        ("unix:/a\0b", None),
    ],
)
def test_listen_addresses(listen: str, expected: tuple[str, int] | Path | None) -> None:
    assert parse_listen(listen) == expected
