"""The property lists and the rotation rule speak launchd's and newsyslog's vocabulary; those in launchd/ are
ours."""

import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from excguard.launchd import job
from excguard.launchd.job import Kind, Layout

FILES = Path(__file__).parents[2] / "launchd"
PROGRAM = ["/usr/local/bin/excguard"]
AGENT = Layout(Kind.AGENT, Path("/Users/qa"))
DAEMON = Layout(Kind.DAEMON, Path("/var/root"))

# launchd.plist(5), macOS 15: each key that a job of ours could use, with the types of its value.
BOOLEANS = {bool: None}
TEXTS = {str: None}
NUMBERS = {int: None}
LIMITS = dict.fromkeys(
    (
        "Core",
        "CPU",
        "Data",
        "FileSize",
        "MemoryLock",
        "NumberOfFiles",
        "NumberOfProcesses",
        "ResidentSetSize",
        "Stack",
    ),
    NUMBERS,
)
VOCABULARY = {
    "Label": TEXTS,
    "Disabled": BOOLEANS,
    "UserName": TEXTS,
    "GroupName": TEXTS,
    "LimitLoadToSessionType": {str: None, list: TEXTS},
    "Program": TEXTS,
    "ProgramArguments": {list: TEXTS},
    "EnableGlobbing": BOOLEANS,
    "EnableTransactions": BOOLEANS,
    "EnablePressuredExit": BOOLEANS,
    "KeepAlive": {
        bool: None,
        dict: {
            "SuccessfulExit": BOOLEANS,
            "Crashed": BOOLEANS,
            "PathState": {dict: BOOLEANS},
            "OtherJobEnabled": {dict: BOOLEANS},
        },
    },
    "RunAtLoad": BOOLEANS,
    "RootDirectory": TEXTS,
    "WorkingDirectory": TEXTS,
    "EnvironmentVariables": {dict: TEXTS},
    "Umask": {int: None, str: None},
    "ExitTimeOut": NUMBERS,
    "ThrottleInterval": NUMBERS,
    "InitGroups": BOOLEANS,
    "WatchPaths": {list: TEXTS},
    "QueueDirectories": {list: TEXTS},
    "StartOnMount": BOOLEANS,
    "StartInterval": NUMBERS,
    "StandardInPath": TEXTS,
    "StandardOutPath": TEXTS,
    "StandardErrorPath": TEXTS,
    "Debug": BOOLEANS,
    "WaitForDebugger": BOOLEANS,
    "SoftResourceLimits": {dict: LIMITS},
    "HardResourceLimits": {dict: LIMITS},
    "Nice": NUMBERS,
    "ProcessType": TEXTS,
    "AbandonProcessGroup": BOOLEANS,
    "LowPriorityIO": BOOLEANS,
    "LowPriorityBackgroundIO": BOOLEANS,
    "MaterializeDatalessFiles": BOOLEANS,
    "LaunchOnlyOnce": BOOLEANS,
    "MachServices": {dict: {bool: None, dict: {"ResetAtClose": BOOLEANS, "HideUntilCheckIn": BOOLEANS}}},
    "SessionCreate": BOOLEANS,
    "LegacyTimers": BOOLEANS,
    "AssociatedBundleIdentifiers": {str: None, list: TEXTS},
}
PROCESS_TYPES = {"Background", "Standard", "Adaptive", "Interactive"}


def foreign(value: object, allowed: dict, where: str) -> list[str]:
    """What in ``value`` launchd.plist(5) has no word for. ``allowed`` maps types to what may be within."""
    if type(value) not in allowed:
        return [f"{where}: {type(value).__name__}"]
    within = allowed[type(value)]
    if isinstance(value, list):
        return [problem for part in value for problem in foreign(part, within, where)]
    if isinstance(value, dict):
        problems = []
        for key, inner in value.items():
            # Either a fixed set of keys, or any key with values of one kind.
            rule = within if all(isinstance(kind, type) for kind in within) else within.get(key)
            problems += (
                [f"{where}.{key}: no such key"] if rule is None else foreign(inner, rule, f"{where}.{key}")
            )
        return problems
    return []


@pytest.mark.parametrize(
    ("layout", "file"), [(AGENT, "org.excguard.agent.plist"), (DAEMON, "org.excguard.daemon.plist")]
)
def test_property_list_in_the_repository_is_the_rendered_one(layout: Layout, file: str) -> None:
    contents = job.property_list(layout, PROGRAM, layout.config)

    assert (FILES / file).read_bytes() == job.render(contents)
    assert plistlib.loads((FILES / file).read_bytes()) == contents


@pytest.mark.parametrize("layout", [AGENT, DAEMON])
def test_property_list_has_only_keys_and_types_that_launchd_supports(layout: Layout) -> None:
    contents = plistlib.loads(job.render(job.property_list(layout, PROGRAM, layout.config)))

    assert foreign(contents, {dict: VOCABULARY}, "") == []
    assert contents["ProcessType"] in PROCESS_TYPES


@pytest.mark.parametrize(
    ("contents", "found"),
    [
        ({"RunAtLoad": 1}, [".RunAtLoad: int"]),
        ({"Lable": "x"}, [".Lable: no such key"]),
        ({"KeepAlive": {"SuccesfulExit": False}}, [".KeepAlive.SuccesfulExit: no such key"]),
        ({"MachServices": {"a": 1}}, [".MachServices.a: int"]),
        ({"ProgramArguments": ["a", 1]}, [".ProgramArguments: int"]),
    ],
)
def test_the_check_of_the_vocabulary_can_fail(contents: dict, found: list[str]) -> None:
    assert foreign(contents, {dict: VOCABULARY}, "") == found


@pytest.mark.parametrize("layout", [AGENT, DAEMON])
def test_job_keeps_what_an_exception_handler_needs(layout: Layout) -> None:
    contents = job.property_list(layout, PROGRAM, layout.config)

    assert contents["Label"] == layout.property_list.stem
    assert contents["MachServices"] == {contents["Label"]: True, f"{contents['Label']}.rendezvous": True}
    assert contents["KeepAlive"] == {"SuccessfulExit": False}
    assert contents["ProcessType"] == "Interactive"  # the one type that is never throttled
    assert 0 < contents["ThrottleInterval"] <= 10
    assert contents["ExitTimeOut"] > 5 + 1  # the default stop_timeout of a child, and some
    assert all(Path(contents[key]).is_absolute() for key in ("StandardOutPath", "StandardErrorPath"))
    assert "~" not in str(contents)
    # In a system-wide daemon this key would change kern.maxfiles for every process.
    assert ("NumberOfFiles" in contents["SoftResourceLimits"]) == (layout is AGENT)


@pytest.mark.parametrize(
    "name", ["org.excguard.agent.plist", "org.excguard.daemon.plist", "excguard.entitlements"]
)
def test_files_in_the_repository_are_property_lists_to_apples_reader_too(name: str, tmp_path: Path) -> None:
    plistutil = shutil.which("plistutil")
    if plistutil is None:
        pytest.skip("plistutil (Debian: libplist-utils) is not installed")
    binary, back = tmp_path / "binary", tmp_path / "back.plist"
    subprocess.run([plistutil, "-i", FILES / name, "-o", binary, "-f", "bin"], check=True)
    subprocess.run([plistutil, "-i", binary, "-o", back, "-f", "xml"], check=True)

    assert plistlib.loads(back.read_bytes()) == plistlib.loads((FILES / name).read_bytes())


@pytest.mark.parametrize("stop_timeout", [0.0, 5.0, 7.5, 90.0, 3600.0])
def test_every_integer_is_read_alike_by_plistlib_and_libplist(stop_timeout: float, tmp_path: Path) -> None:
    plistutil = shutil.which("plistutil")
    if plistutil is None:
        pytest.skip("plistutil (Debian: libplist-utils) is not installed")
    contents = job.property_list(AGENT, PROGRAM, AGENT.config, stop_timeout=stop_timeout)
    text, binary = tmp_path / "job.plist", tmp_path / "binary"
    text.write_bytes(job.render(contents))
    subprocess.run([plistutil, "-i", text, "-o", binary, "-f", "bin"], check=True)

    assert plistlib.loads(binary.read_bytes()) == plistlib.loads(text.read_bytes()) == contents


def test_entitlements_ask_for_nothing_that_weakens_and_say_what_each_is_for() -> None:
    text = (FILES / "excguard.entitlements").read_text()
    entitlements = plistlib.loads(text.encode())

    assert entitlements["com.apple.security.hardened-process"] is True
    assert int(entitlements["com.apple.security.hardened-process.platform-restrictions-string"]) >= 1
    assert not any("get-task-allow" in key or ".allow-" in key or ".disable-" in key for key in entitlements)
    assert text.count("<!--") >= 5


def test_rotation_rule_has_the_fields_of_newsyslog_conf() -> None:
    rule = job.newsyslog_rule(DAEMON, "root:wheel")
    comment, line, end = rule.split("\n")

    assert rule == (FILES / "newsyslog.d" / "org.excguard.daemon.conf").read_text()
    assert comment.startswith("#")
    assert end == ""
    path, owner, mode, count, size, when, flags, pid_file, signal = line.split()
    assert path == str(DAEMON.hits)
    assert owner == "root:wheel"
    assert (mode, when) == ("600", "*")
    assert int(count) > 0
    assert int(size) > 0
    assert set(flags) == {"B", "Z"}  # B: no line of newsyslog's own amid the JSON
    assert pid_file == str(DAEMON.pid_file)
    assert signal == "30"  # SIGUSR1 on macOS


def test_rotation_rule_matches_the_arguments_of_the_job() -> None:
    arguments = job.property_list(AGENT, PROGRAM, AGENT.config)["ProgramArguments"]
    line = job.newsyslog_rule(AGENT, "qa:staff").splitlines()[1].split("\t")

    assert arguments[arguments.index("--log") + 1] == line[0]
    assert arguments[arguments.index("--pid-file") + 1] == line[7]


def test_rotation_rule_refuses_a_path_that_newsyslog_would_cut() -> None:
    with pytest.raises(ValueError, match=r"/Users/q a/.*white space.*SIGUSR1"):
        job.newsyslog_rule(Layout(Kind.AGENT, Path("/Users/q a")), "qa:staff")
