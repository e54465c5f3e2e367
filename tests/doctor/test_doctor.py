"""Each outcome of each probe: what it says, how bad it is, and what to do."""

import os
import plistlib
from pathlib import Path

import pytest

from excguard.config import Config
from excguard.doctor import configuration, examination, kernel
from excguard.doctor.attaching import attaching
from excguard.doctor.finding import Finding, Status
from excguard.doctor.launchd_job import launchd_job
from excguard.launchd.job import Kind, Layout
from excguard.launchd.launchctl import Answer
from excguard.mach.host import Host
from excguard.targets import insertion
from tests.support.mach_o_files import ADHOC, RUNTIME, signature, thin, write


class Fake:
    """A machine as a test wants it."""

    def __init__(self, home: Path, **host: object) -> None:
        self.host = Host(
            **{  # type: ignore[arg-type]
                "release": "26.4",
                "build": "25E246",
                "kernel": "xnu-12377.101.15~1",
                "machine": "arm64",
                "developer_mode": True,
                "guard_behavior": 0x1111,
                **host,
            }
        )
        self.uid = os.geteuid() or 501  # whose files these tests write; root's are accepted for every user
        self.home = home
        self.answered: dict[str, Answer] = {
            "csrutil status": Answer(0, "System Integrity Protection status: enabled.\n", ""),
            "id -Gn": Answer(0, "staff everyone admin\n", ""),
            "launchctl": Answer(113, "", "Could not find service"),
        }
        self.port: str | None = None
        self.excguard_listens = False
        self.unwritable_directories: dict[Path, str] = {}
        self.unreadable_directories: dict[str, str] = {}
        self.task_error: str | None = None
        self.program = home / "not known"

    def run(self, *command: str) -> Answer | None:
        words = " ".join(command)
        return next((answer for start, answer in self.answered.items() if words.startswith(start)), None)

    def path_of(self, _pid: int) -> str:
        return str(self.program)

    def taken(self, _host: str, _port: int) -> str | None:
        return self.port

    def answers(self, _host: str, _port: int) -> bool:
        return self.excguard_listens

    def unwritable(self, directory: Path) -> str | None:
        return self.unwritable_directories.get(directory)

    def unreadable(self, directory: Path) -> str | None:
        return self.unreadable_directories.get(str(directory))

    def task_for_pid(self, _pid: int) -> str | None:
        return self.task_error


@pytest.fixture
def mac(tmp_path):
    def make(**host: object) -> Fake:
        return Fake(tmp_path, **host)

    return make


def only(findings) -> Finding:
    (finding,) = findings
    return finding


def config(text: str, directory: Path) -> Config:
    found, _ = configuration.read_config(written(text, directory))
    assert found is not None
    return found


def written(text: str, directory: Path) -> Path:
    path = directory / "config.toml"
    path.write_text(text)
    return path


def test_nothing_stands_in_the_way_on_a_good_mac(mac, tmp_path) -> None:
    findings = examination.examine(mac(), written("", tmp_path))

    assert {finding.status for finding in findings if finding.check != "attach"} == {Status.OK}
    assert all(finding.meaning for finding in findings)


@pytest.mark.parametrize("release", ["14.1", "15.4", "26.4"])
def test_developer_mode_off_is_a_problem_since_14_1(mac, release: str) -> None:
    finding = only(kernel.developer_mode(mac(developer_mode=False, release=release)))

    assert finding.status is Status.PROBLEM
    assert finding.found == "off"
    assert "reach no handler" in finding.meaning
    assert "DevToolsSecurity -enable" in finding.advice
    assert "[crash_reports]" in finding.advice


def test_a_release_that_the_kernel_contradicts_is_a_warning(mac) -> None:
    finding = only(kernel.platform(mac(release="26.2")))

    assert finding.status is Status.WARNING
    assert "is the kernel of macOS 26.4" in finding.meaning
    assert only(kernel.platform(mac())).status is Status.OK


@pytest.mark.parametrize(
    ("release", "mode"), [("14.0", False), ("12.3", None), ("14.1", True), ("26.4", True)]
)
def test_developer_mode_on_or_of_no_consequence(mac, release: str, mode) -> None:
    assert only(kernel.developer_mode(mac(developer_mode=mode, release=release))).status is Status.OK


@pytest.mark.parametrize(
    ("value", "hardened", "others"),
    [
        (0x1111, (Status.OK, "VM_DELIVER|MP_DELIVER", ""), (Status.OK, "VM_DELIVER|MP_DELIVER", "")),
        (
            0x99,  # xnu's own default
            (Status.WARNING, "VM_DELIVER|VM_FATAL|MP_DELIVER|MP_FATAL", "optional Mach port guards"),
            (Status.WARNING, "NONE", "not delivered"),
        ),
        (
            0x3311,
            (Status.OK, "DELIVER", ""),
            (Status.WARNING, "MP_ONCE", "ONCE: of soft and optional Mach port and memory"),
        ),
        (
            0x1331,
            (Status.WARNING, "MP_ONCE", "ONCE: of soft and optional Mach port guards"),
            (Status.WARNING, "VM_ONCE", "memory"),
        ),
        (0x5011, (Status.OK, "", ""), (Status.WARNING, "MP_CORPSE", "a copy of the process")),
    ],
)
def test_guard_flags_in_words(mac, value: int, hardened, others) -> None:
    first, second = kernel.guard_flags(mac(guard_behavior=value))

    for finding, (status, found, meaning) in ((first, hardened), (second, others)):
        assert finding.status is status
        assert found in finding.found
        assert meaning in finding.meaning
        assert hex(value) in finding.found
        assert bool(finding.advice) == (status is not Status.OK and "CORPSE" not in finding.found)


def test_mp_fatal_says_which_exits_to_expect(mac) -> None:
    first, _ = kernel.guard_flags(mac(guard_behavior=0x1199))

    assert "INVALID_NAME, end the program" in first.meaning
    assert "SIGKILL" in first.advice
    assert "--fail-on optional" in first.advice


def test_once_says_where_the_rest_is_to_be_had(mac) -> None:
    _, second = kernel.guard_flags(mac(guard_behavior=0x3111))

    assert "only the first of a process is delivered" in second.meaning
    assert "[unified_log]" in second.advice


def test_guard_flags_that_cannot_be_read(mac) -> None:
    assert only(kernel.guard_flags(mac(guard_behavior=None))).status is Status.WARNING


@pytest.mark.parametrize(
    ("said", "status", "found"),
    [
        ("System Integrity Protection status: enabled.\n", Status.OK, "on"),
        ("System Integrity Protection status: disabled.\n", Status.WARNING, "off"),
        ("System Integrity Protection status: unknown (Custom Configuration).\n", Status.WARNING, "unknown"),
        (None, Status.WARNING, "csrutil did not say"),
    ],
)
def test_integrity_protection(mac, said, status, found) -> None:
    machine = mac()
    machine.answered.pop("csrutil status")
    if said is not None:
        machine.answered["csrutil status"] = Answer(0, said, "")
    finding = only(kernel.integrity_protection(machine))

    assert (finding.status, finding.found) == (status, found)


@pytest.mark.parametrize(
    ("host", "status", "part"),
    [
        ({}, Status.OK, "macOS 26.4 (25E246), xnu-12377.101.15~1, arm64"),
        ({"release": "11.7"}, Status.PROBLEM, "macOS 11.7"),
        ({"kernel": "simulated"}, Status.WARNING, "the kernel is simulated, as macOS 26.4"),
    ],
)
def test_platform(mac, host, status, part) -> None:
    finding = only(kernel.platform(mac(**host)))

    assert finding.status is status
    assert part in finding.found


def test_where_the_kernel_is_simulated_only_what_can_be_seen_is_reported(mac, tmp_path) -> None:
    machine = mac(kernel="simulated", developer_mode=False)
    machine.run = lambda *_: pytest.fail("nothing of macOS is to be asked here")  # type: ignore[method-assign]
    findings = examination.examine(machine, written("", tmp_path))

    assert {finding.check for finding in findings} == {
        "platform",
        "developer mode",
        "guard flags of Apple's and hardened programs",
        "guard flags of other programs",
        "configuration",
        "metrics port",
        "journal directory",
        "attach",
    }
    assert next(f for f in findings if f.check == "developer mode").status is Status.PROBLEM


def test_broken_configuration_names_the_line_to_fix(mac, tmp_path) -> None:
    path = written("[log]\nfrist = 1", tmp_path)
    findings = examination.examine(mac(), path)
    finding = next(finding for finding in findings if finding.check == "configuration")

    assert finding.status is Status.PROBLEM
    assert finding.found.startswith(f'{path}: line 2: log: unknown key "frist"')
    assert not any(finding.check == "metrics port" for finding in findings)


def test_missing_configuration(tmp_path) -> None:
    _, wanted = configuration.read_config(tmp_path / "none.toml")
    _, default = configuration.read_config(tmp_path / "none.toml", required=False)

    assert wanted.status is Status.PROBLEM
    assert default.status is Status.OK


def test_port_taken_by_another(mac) -> None:
    machine = mac()
    machine.port = "taken by another program"
    finding = only(configuration.metrics_port(machine, Config()))

    assert finding.status is Status.PROBLEM
    assert finding.found == "127.0.0.1:12012: taken by another program"
    assert "lsof -nP -iTCP:12012" in finding.advice


def test_port_of_an_excguard_that_runs(mac) -> None:
    machine = mac()
    machine.port = "taken by another program"
    machine.excguard_listens = True

    assert only(configuration.metrics_port(machine, Config())).status is Status.OK


def test_port_switched_off(mac, tmp_path) -> None:
    assert only(configuration.metrics_port(mac(), config('[metrics]\nlisten = ""', tmp_path))).found == "off"


def test_directories(mac, tmp_path) -> None:
    machine = mac()
    found = config('[log]\npath = "/logs/a.jsonl"\n[journal]\npath = "/data/journal"', tmp_path)
    assert [finding.status for finding in configuration.directories(machine, found)] == [Status.OK, Status.OK]
    machine.unwritable_directories = {Path("/logs"): "no permission to write"}
    log, journal = configuration.directories(machine, found)

    assert (log.status, log.found) == (Status.PROBLEM, "/logs: no permission to write")
    assert journal.status is Status.OK


def test_report_directories(mac, tmp_path) -> None:
    machine = mac()
    machine.unreadable_directories = {"/Library/Logs/DiagnosticReports": "no permission to read"}
    own, system = configuration.report_directories(machine, Config())
    assert (own.status, own.found) == (Status.OK, f"{tmp_path}/Library/Logs/DiagnosticReports")
    assert (system.status, system.found) == (
        Status.WARNING,
        "/Library/Logs/DiagnosticReports: no permission to read",
    )

    given = config('[crash_reports]\ndirectories = ["/reports"]', tmp_path)
    assert only(configuration.report_directories(machine, given)).found == "/reports"
    off = config("[crash_reports]\nenabled = false", tmp_path)
    assert only(configuration.report_directories(machine, off)).found == "off"


def test_behavior_that_the_release_does_not_have(mac, tmp_path) -> None:
    found = config('behavior = "state_identity_protected"\n[[target]]\nname = "a"\ncommand = ["a"]', tmp_path)

    assert only(configuration.behaviors(mac(release="14.4"), found)).status is Status.PROBLEM
    assert list(configuration.behaviors(mac(release="15.0"), found)) == []


@pytest.fixture(autouse=True)
def library(tmp_path, monkeypatch) -> None:
    path = write(tmp_path / "library", thin(kind=6))
    monkeypatch.setattr(insertion, "library_path", lambda: path)


def signed(path: Path, *, flags: int = RUNTIME, team: str = "ABCDE12345", **entitlements: object) -> Path:
    """A program that is signed so."""
    names = {name.replace("_", "-"): value for name, value in entitlements.items()}
    return write(path, thin(signed=signature(flags=flags, team=team, entitlements=names)))


@pytest.mark.parametrize(
    ("settings", "status", "parts"),
    [
        (None, Status.OK, ["not signed", "watched and attached to"]),
        ({}, Status.OK, ["team ABCDE12345, hardened runtime", "`excguard attach` is refused"]),
        ({"get_task_allow": True}, Status.OK, ["get-task-allow", "and attached to"]),
        ({"flags": ADHOC, "team": ""}, Status.OK, ["signed ad hoc", "and attached to"]),
        ({"only_one_exception_port": True}, Status.PROBLEM, ["KERN_DENIED", "[crash_reports]"]),
        (
            {"hardened_process.platform_restrictions_string": "2"},
            Status.OK,
            ["platform restrictions: more misuse"],
        ),
        ({"hardened_process.platform_restrictions": 1}, Status.OK, ["platform restrictions: more misuse"]),
    ],
)
def test_signature_of_a_target(mac, tmp_path, *, settings, status, parts) -> None:
    app = tmp_path / "app"
    if settings is None:
        write(app, thin())
    else:
        signed(app, **settings)
    found = config(f'[[target]]\nname = "a"\ncommand = ["{app}"]', tmp_path)
    finding, _ = configuration.targets(mac(), found)

    assert finding.status is status
    for part in parts:
        assert part in f"{finding.found} {finding.meaning} {finding.advice}"


@pytest.mark.parametrize(
    ("contents", "flags", "status", "parts"),
    [
        (thin(), 0x0099, Status.OK, ["starts with NONE", "dyld takes the library"]),
        (thin(), 0x1199, Status.OK, ["VM_DELIVER|MP_DELIVER", "delivered as it is"]),
        (
            thin(signed=signature(flags=RUNTIME)),
            0x0099,
            Status.WARNING,
            ["dyld ignores inserted libraries", "hardened runtime", "allow-dyld-environment-variables"],
        ),
        (thin(signed=signature(flags=0x2000)), 0x0099, Status.WARNING, ["dyld would end the program"]),
        (
            thin(signed=signature(entitlements={"app-sandbox": True})),
            0x0099,
            Status.WARNING,
            ["is not certain", "excguard_client_watch_self"],
        ),
    ],
)
def test_whether_dyld_takes_the_library(mac, tmp_path, *, contents, flags, status, parts) -> None:
    app = write(tmp_path / "app", contents)
    findings = examination.examine(mac(guard_behavior=flags), written("", tmp_path), command=[str(app)])
    finding = only(finding for finding in findings if finding.check == "program: delivery")

    assert finding.status is status
    for part in parts:
        assert part in f"{finding.found} {finding.meaning} {finding.advice}"


def test_targets_that_cannot_be(mac, tmp_path) -> None:
    found = config('[[target]]\nname = "a"\ncommand = ["/nowhere/app"]', tmp_path)
    assert "no such file" in only(configuration.targets(mac(), found)).found

    apples = config('[[target]]\nname = "a"\ncommand = ["/usr/bin/true"]', tmp_path)
    finding, _ = configuration.targets(mac(), apples)
    assert finding.status is Status.WARNING
    assert "part of macOS" in finding.found


def test_a_process_with_one_exception_port_is_not_attached_to(mac, tmp_path) -> None:
    machine = mac()
    machine.program = signed(tmp_path / "app", only_one_exception_port=True)
    finding = only(attaching(machine, 7))

    assert finding.status is Status.PROBLEM
    assert "EXCEPTION_BEHAVIOR_ENFORCE" in finding.meaning


@pytest.mark.parametrize(
    ("ps", "uid", "settings", "parts"),
    [
        ("", 501, None, ["no process 7"]),
        ("  501 /usr/bin/ssh\n", 501, None, ["part of macOS", "excguard run"]),
        (
            "  502 /Applications/My App.app/a\n",
            501,
            None,
            ["belongs to user id 502", "sudo excguard attach 7"],
        ),
        ("  501 {app}\n", 501, {}, ["no get-task-allow", "sign test builds"]),
        ("  501 {app}\n", 501, {"get_task_allow": True}, ["cs.debugger", "sudo excguard attach 7"]),
        ("  501 {app}\n", 0, {"get_task_allow": True}, ["did not say why"]),
    ],
)
def test_why_attaching_is_forbidden(mac, tmp_path, *, ps, uid, settings, parts) -> None:
    machine = mac()
    machine.uid = uid
    machine.task_error = "KERN_FAILURE"
    app = tmp_path / "app"
    machine.answered["ps -o uid=,comm= -p 7"] = Answer(0, ps.replace("{app}", str(app)), "")
    if settings is not None:
        signed(app, **settings)
    finding = only(attaching(machine, 7))

    assert (finding.status, finding.found) == (Status.PROBLEM, "task_for_pid: KERN_FAILURE")
    for part in parts:
        assert part in f"{finding.meaning} {finding.advice}"


def test_attaching_allowed(mac) -> None:
    assert only(attaching(mac(), 7)).status is Status.OK
    assert only(attaching(mac(), None)).status is Status.WARNING
    root = mac()
    root.uid = 0
    assert only(attaching(root, None)).status is Status.OK


@pytest.mark.parametrize(
    ("release", "uid", "groups", "status"),
    [
        ("15.5", 501, "staff", Status.OK),
        ("26.0", 501, "staff admin", Status.OK),
        ("26.0", 501, "staff", Status.WARNING),
        ("26.0", 0, "wheel", Status.OK),
    ],
)
def test_unified_log(mac, release, uid, groups, status) -> None:
    machine = mac(release=release)
    machine.uid = uid
    machine.answered["id -Gn"] = Answer(0, groups, "")

    assert only(kernel.unified_log(machine)).status is status


LOADED = "gui/501/org.excguard.agent = {\n\tstate = running\n\tpid = 77\n}\n"
FAILING = "gui/501/org.excguard.agent = {\n\tstate = spawn scheduled\n\tlast exit code = 2\n}\n"


@pytest.mark.parametrize(
    ("answer", "installed", "status", "part"),
    [
        (Answer(113, "", ""), False, Status.OK, "not installed"),
        (Answer(113, "", ""), True, Status.WARNING, "installed, not loaded"),
        (Answer(0, LOADED, ""), True, Status.OK, "runs, pid 77"),
        (Answer(0, FAILING, ""), True, Status.PROBLEM, "loaded, spawn scheduled, last exit 2"),
        (Answer(125, "", "Domain does not support"), False, Status.WARNING, "failed (125)"),
        (None, False, Status.WARNING, "not on this machine"),
    ],
)
def test_launchd_job(mac, tmp_path, *, answer, installed, status, part) -> None:
    machine = mac()
    machine.answered.pop("launchctl")
    if answer:
        machine.answered[f"launchctl print gui/{machine.uid}/org.excguard.agent"] = answer
    if installed:
        path = Layout(Kind.AGENT, tmp_path).property_list
        path.parent.mkdir(parents=True)
        path.write_bytes(plistlib.dumps({"Label": "org.excguard.agent", "Program": "/bin/sh"}))
        path.chmod(0o644)
    finding = only(launchd_job(machine, Kind.AGENT))

    assert finding.status is status
    assert part in finding.found


def test_launchd_job_that_would_be_refused(mac, tmp_path) -> None:
    path = Layout(Kind.AGENT, tmp_path).property_list
    path.parent.mkdir(parents=True)
    path.write_bytes(plistlib.dumps({"Label": "org.excguard.agent", "Program": "/bin/sh"}))
    path.chmod(0o666)
    refused, _ = launchd_job(mac(), Kind.AGENT)

    assert refused.status is Status.PROBLEM
    assert refused.advice == f"chmod 644 {path}"
