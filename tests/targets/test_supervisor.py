"""The life of watched programs: real processes, with a clock of the test's own where time matters."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from excguard.config import Restart, Target
from excguard.knowledge.exception_behavior import Behavior
from excguard.mach import ports
from excguard.mach.errors import UnsupportedReleaseError
from excguard.mach.host import Host
from excguard.targets.events import Event, Exited, ExitReason, GroupEnded, Restarting, Started, StartFailed
from excguard.targets.supervisor import Supervisor
from tests.support.waiting import until

SH = "/bin/sh"
FOREVER = "sleep 3600 & wait"


@pytest.fixture(autouse=True)
def nothing_left_behind(host: Host) -> Iterator[None]:
    """No process survives a test, and none waits to be reaped."""
    before = children()
    yield
    assert children() == before


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A fifo by which a program says that it is ready."""
    fifo = tmp_path / "ready"
    os.mkfifo(fifo)
    return fifo


class FastClock:
    """A clock that moves by what is slept, and by `run_time` between start and end of each program."""

    def __init__(self, *run_times: float) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._run_times = iter(run_times)
        self._asked = 0

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def ran(self) -> None:
        self.now += next(self._run_times, 0.0)


def script(text: str, **settings: object) -> Target:
    settings = {"name": "test", "restart": Restart.NEVER, **settings}
    return Target(command=(SH, "-c", text), **settings)  # type: ignore[arg-type]


def python(text: str, **settings: object) -> Target:
    command = (sys.executable, "-I", "-S", "-c", text)
    return Target(name="test", command=command, restart=Restart.NEVER, **settings)  # type: ignore[arg-type]


def supervise(
    host: Host,
    *targets: Target,
    clock: FastClock | None = None,
    react: Callable[[Supervisor, Event], None] = lambda _supervisor, _event: None,
    beside: Callable[[Supervisor], Awaitable[None]] | None = None,
    foreground: bool = False,
) -> list[Event]:
    """Run targets to their end; ``react`` sees each event as it happens, ``beside`` runs meanwhile."""
    events: list[Event] = []

    async def main() -> None:
        def on_event(event: Event) -> None:
            events.append(event)
            if clock is not None and isinstance(event, Exited):
                clock.ran()
            react(supervisor, event)

        with Supervisor(host, on_event=on_event, clock=clock) as supervisor:
            for target in targets:
                supervisor.add(target, foreground=foreground)
            running = asyncio.ensure_future(supervisor.run())
            if beside is not None:
                await beside(supervisor)
            await running

    asyncio.run(asyncio.wait_for(main(), 60))
    return events


def exits(events: list[Event]) -> list[Exited]:
    return [event for event in events if isinstance(event, Exited)]


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def descriptors() -> list[int]:
    """The open descriptors of this process."""
    listed = [int(entry.name) for entry in Path("/dev/fd").iterdir()]
    # One of them was for the listing.
    return [fd for fd in listed if is_open(fd)]


def is_open(fd: int) -> bool:
    try:
        return bool(os.fstat(fd))
    except OSError:
        return False


def children() -> set[int]:
    """The processes that this one has started and not reaped."""
    listing = subprocess.run(["ps", "-axo", "pid=,ppid=,comm="], capture_output=True, text=True, check=True)
    lines = [line.split(None, 2) for line in listing.stdout.splitlines()]
    return {int(pid) for pid, parent, name in lines if int(parent) == os.getpid() and name != "ps"}


def is_stopped(pid: str) -> bool:
    return subprocess.check_output(["ps", "-o", "state=", "-p", pid]).startswith(b"T")


@contextlib.contextmanager
def disposition(number: signal.Signals, handler: signal.Handlers) -> Iterator[None]:
    """What this process does about a signal, whoever started it: under nohup(1) SIGHUP is ignored."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


async def read_line(path: Path) -> str:
    """What a process writes into a fifo; waits for it."""
    return await asyncio.to_thread(path.read_text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exit 0", (0, None, ExitReason.EXITED, 0)),
        ("exit 7", (7, None, ExitReason.FAILED, 7)),
        ("kill -TERM $$", (None, signal.SIGTERM, ExitReason.KILLED, 143)),
        ("kill -KILL $$", (None, signal.SIGKILL, ExitReason.KILLED, 137)),
    ],
)
def test_an_exit_is_reported_with_its_status_signal_and_reason(
    host: Host, text: str, expected: tuple[int | None, int | None, ExitReason, int]
) -> None:
    started, exited, ended = supervise(host, script(text))

    assert isinstance(started, Started)
    assert isinstance(exited, Exited)
    assert isinstance(ended, GroupEnded)
    assert not ended.detached
    assert (exited.status, exited.signal, exited.reason, exited.exit_status) == expected
    assert started.pid == exited.pid != 0


def test_a_program_that_is_missing_is_named_once_and_leaves_nothing_behind(host: Host) -> None:
    (event,) = supervise(host, Target(name="x", command=("/no/such/program",), restart=Restart.NEVER))

    assert isinstance(event, StartFailed)
    assert event.reason == "/no/such/program: no such program; check the path"


def test_a_failure_without_a_file_name_names_the_program() -> None:
    target = Target(name="x", command=("odd\udcff", "argument"))

    assert StartFailed(target, OSError(24, "Too many open files")).reason == "odd\\xff: too many open files"
    assert StartFailed(target, ValueError("no NUL in an argument")).reason == "no NUL in an argument"


def test_a_program_that_cannot_be_started_is_tried_again_by_the_restart_policy(
    host: Host, tmp_path: Path
) -> None:
    program = tmp_path / "late"

    def react(_: Supervisor, event: Event) -> None:
        if isinstance(event, Restarting) and len(clock.slept) == 1:
            program.write_text("#!/bin/sh\n")
            program.chmod(0o755)

    clock = FastClock()
    target = Target(name="x", command=(str(program),), restart=Restart.ON_FAILURE)
    events = supervise(host, target, clock=clock, react=react)

    assert [StartFailed, Restarting, StartFailed, Restarting, Started, Exited, GroupEnded] == [
        type(event) for event in events
    ]


def test_output_passes_through_and_the_environment_and_directory_are_the_targets(
    host: Host, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "kept")
    target = script(
        "pwd; echo $OURS $ITS; echo trouble >&2", directory=str(tmp_path), environment={"ITS": "added"}
    )
    supervise(host, target)

    assert (f"{tmp_path}\nkept added\n", "trouble\n") == capfd.readouterr()


@pytest.mark.parametrize("foreground", [False, True])
def test_standard_input_is_for_the_foreground_target_alone(host: Host, *, foreground: bool) -> None:
    reading, writing = os.pipe()
    saved = os.dup(0)
    os.dup2(reading, 0)
    try:
        os.write(writing, b"for the program\n")
        os.close(writing)
        (exited,) = exits(supervise(host, script('read line && test -n "$line"'), foreground=foreground))
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(reading)

    assert (ExitReason.EXITED if foreground else ExitReason.FAILED) is exited.reason


def test_the_program_starts_with_default_signals_and_none_of_our_descriptors(
    host: Host, capfd: pytest.CaptureFixture[str]
) -> None:
    text = (
        "import os, signal\n"
        "def is_open(fd):\n"
        "    try: return bool(os.fstat(fd))\n"
        "    except OSError: return False\n"
        "print(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
        "print(*(fd for fd in map(int, os.listdir('/dev/fd')) if is_open(fd)))\n"
    )
    # Python ignores SIGXFSZ, and would go on ignoring it in what it starts.
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    inherited = [fd for fd in descriptors() if os.get_inheritable(fd)]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        supervise(host, python(text))
        (exited,) = exits(supervise(host, script("kill -XFSZ $$")))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    mask, open_there = capfd.readouterr().out.splitlines()

    assert mask == "set()"
    assert {int(fd) for fd in open_there.split()} <= set(inherited)
    assert exited.signal == signal.SIGXFSZ


def test_restart_on_failure_ends_with_the_first_success(host: Host, tmp_path: Path) -> None:
    clock = FastClock()
    text = 'echo >> tries; test "$(wc -l < tries)" -ge 3'
    target = script(text, directory=str(tmp_path), restart=Restart.ON_FAILURE, restart_delay=1.0)
    events = supervise(host, target, clock=clock)

    assert [event.reason for event in exits(events)] == [
        ExitReason.FAILED,
        ExitReason.FAILED,
        ExitReason.EXITED,
    ]
    assert clock.slept == [1.0, 2.0]


@pytest.mark.parametrize("restart", [Restart.NEVER, Restart.ON_FAILURE])
def test_a_success_is_not_restarted_unless_always(host: Host, restart: Restart) -> None:
    assert len(exits(supervise(host, script("exit 0", restart=restart)))) == 1


def test_a_failure_is_not_restarted_when_never(host: Host) -> None:
    assert len(exits(supervise(host, script("exit 1", restart=Restart.NEVER)))) == 1


def test_the_delay_doubles_to_its_maximum_and_begins_anew_after_a_healthy_spell(host: Host) -> None:
    def react(supervisor: Supervisor, event: Event) -> None:
        if isinstance(event, Restarting) and len(clock.slept) == 5:
            supervisor.stop()

    clock = FastClock(0.0, 1.0, 8.0, 8.5, 0.0, 0.0)
    target = script("exit 0", restart=Restart.ALWAYS, restart_delay=2.0, restart_delay_max=8.0)
    events = supervise(host, target, clock=clock, react=react)

    assert [event.delay for event in events if isinstance(event, Restarting)] == [
        2.0,
        4.0,
        8.0,
        2.0,
        4.0,
        8.0,
    ]


def test_stop_does_not_wait_for_a_restart(host: Host) -> None:
    def react(supervisor: Supervisor, event: Event) -> None:
        if isinstance(event, Restarting):
            asyncio.get_running_loop().call_soon(supervisor.stop)

    target = script("exit 1", restart=Restart.ALWAYS, restart_delay=3600.0, restart_delay_max=3600.0)
    events = supervise(host, target, react=react)

    assert [Started, Exited, GroupEnded, Restarting] == [type(event) for event in events]


def test_stop_asks_first(host: Host, ready: Path) -> None:
    async def beside(supervisor: Supervisor) -> None:
        await read_line(ready)
        supervisor.stop()

    text = f"trap 'exit 7' TERM; echo > ready; {FOREVER}"
    target = script(text, directory=str(ready.parent), restart=Restart.ALWAYS, stop_timeout=30.0)
    (exited,) = exits(supervise(host, target, beside=beside))

    assert (exited.status, exited.reason) == (7, ExitReason.STOPPED)


def test_stop_kills_what_does_not_listen(host: Host, ready: Path) -> None:
    async def beside(supervisor: Supervisor) -> None:
        await read_line(ready)
        supervisor.stop()

    text = f"trap '' TERM; echo > ready; {FOREVER}"
    (exited,) = exits(
        supervise(host, script(text, directory=str(ready.parent), stop_timeout=0.05), beside=beside)
    )

    assert (exited.signal, exited.reason) == (signal.SIGKILL, ExitReason.STOPPED)


def test_what_a_program_leaves_behind_is_counted(host: Host) -> None:
    (exited,) = exits(supervise(host, script("sleep 3600 & sleep 3600 & exit 0")))

    assert exited.left == 2


def test_what_leaves_the_group_and_keeps_the_port_is_reported(host: Host, ready: Path) -> None:
    text = (
        "import os, time\n"
        "from excguard.mach import ports\n"
        "inherits, done = os.pipe()\n"
        "if os.fork(): os.wait(); raise SystemExit\n"
        "if os.fork(): os.read(inherits, 1); os._exit(0)\n"
        "os.setsid()\n"
        "ports.names()\n"  # a simulated kernel has no task for a process before its first call
        "os.write(done, b'x')\n"
        "print(os.getpid(), file=open('ready', 'w'), flush=True)\n"
        "time.sleep(3600)"
    )
    pids: list[int] = []

    async def beside(_: Supervisor) -> None:
        pids.append(int(await read_line(ready)))

    program = (sys.executable, "-c", text)
    target = Target(name="x", command=program, restart=Restart.NEVER, directory=str(ready.parent))
    *_, ended = supervise(host, target, beside=beside)
    os.kill(pids[0], signal.SIGKILL)

    assert isinstance(ended, GroupEnded)
    assert ended.detached


def test_all_that_a_program_leaves_behind_is_waited_for(host: Host, tmp_path: Path) -> None:
    text = "(while [ ! -e go ]; do sleep 0.01; done; echo > done) & exit 0"

    def react(_: Supervisor, event: Event) -> None:
        if isinstance(event, Exited):
            (tmp_path / "go").touch()

    exited, ended = supervise(host, script(text, directory=str(tmp_path), wait_all=True), react=react)[1:]

    assert isinstance(exited, Exited)
    assert exited.left
    assert isinstance(ended, GroupEnded)
    assert (tmp_path / "done").exists()


def test_waiting_for_all_ends_when_it_is_stopped(host: Host) -> None:
    def react(supervisor: Supervisor, event: Event) -> None:
        if isinstance(event, Exited):
            asyncio.get_running_loop().call_soon(supervisor.forward, signal.SIGTERM)

    *_, exited, ended = supervise(host, script("sleep 3600 & exit 0", wait_all=True), react=react)

    assert isinstance(exited, Exited)
    assert isinstance(ended, GroupEnded)


def test_what_a_program_leaves_behind_ends_with_it(host: Host, tmp_path: Path) -> None:
    text = f"({FOREVER}) & echo $! > child; (trap '' TERM; echo > deaf; {FOREVER}) & echo $! >> child; "
    text += "while [ ! -e deaf ]; do sleep 0.01; done"
    supervise(host, script(text, directory=str(tmp_path), stop_timeout=0.05))

    assert [alive(int(pid)) for pid in (tmp_path / "child").read_text().split()] == [False, False]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_program_that_leads_a_group_of_its_own_is_ended_with_it(
    host: Host, ready: Path, *, stopped: bool
) -> None:
    async def beside(supervisor: Supervisor) -> None:
        program, child = (await read_line(ready)).split()
        pids.append(int(child))
        if stopped:
            os.killpg(int(program), signal.SIGSTOP)
        supervisor.stop()

    text = (
        "import os, time\n"
        "os.setpgid(0, 0)\n"
        "child = os.fork()\n"
        "if child: print(os.getpid(), child, file=open('ready', 'w'), flush=True)\n"
        "time.sleep(3600)"
    )
    pids: list[int] = []
    target = python(text, directory=str(ready.parent))
    (exited,) = exits(supervise(host, target, beside=beside))

    assert (exited.signal, exited.reason) == (signal.SIGTERM, ExitReason.STOPPED)
    assert not alive(pids[0])


def test_a_stopped_program_is_ended_too(host: Host) -> None:
    def react(supervisor: Supervisor, event: Event) -> None:
        if isinstance(event, Started):
            # The whole group, and so the guardian as well.
            os.killpg(os.getpgid(event.pid), signal.SIGSTOP)
            asyncio.get_running_loop().call_soon(supervisor.stop)

    (exited,) = exits(supervise(host, script(FOREVER), react=react))

    assert (exited.signal, exited.reason) == (signal.SIGTERM, ExitReason.STOPPED)


def test_a_killed_guardian_takes_its_program_along_and_the_policy_goes_on(host: Host) -> None:
    def react(supervisor: Supervisor, event: Event) -> None:
        if isinstance(event, Started):
            guardian = os.getpgid(event.pid)
            os.kill(guardian, signal.SIGKILL)
        elif isinstance(event, Restarting) and len(clock.slept) == 2:
            supervisor.stop()

    clock = FastClock()
    events = supervise(host, script(FOREVER, restart=Restart.ON_FAILURE), clock=clock, react=react)

    assert [(event.signal, event.reason) for event in exits(events)] == [
        (signal.SIGKILL, ExitReason.KILLED)
    ] * 3


def test_a_program_may_kill_its_whole_group(host: Host) -> None:
    (exited,) = exits(supervise(host, script("kill -KILL 0")))

    assert exited.signal == signal.SIGKILL


def test_signals_are_forwarded(host: Host, ready: Path) -> None:
    async def beside(supervisor: Supervisor) -> None:
        await read_line(ready)
        supervisor.forward(signal.SIGUSR1)

    text = f"trap 'exit 9' USR1; echo > ready; {FOREVER}"
    (exited,) = exits(supervise(host, script(text, directory=str(ready.parent)), beside=beside))

    assert (exited.status, exited.reason) == (9, ExitReason.FAILED)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_program_ends_on_a_signal(host: Host, ready: Path, number: signal.Signals) -> None:
    async def beside(supervisor: Supervisor) -> None:
        pid = (await read_line(ready)).strip()
        await until(lambda: is_stopped(pid))
        supervisor.forward(number)

    text = "echo $$ > ready; kill -STOP $$"
    with disposition(number, signal.SIG_DFL):
        (exited,) = exits(supervise(host, script(text, directory=str(ready.parent)), beside=beside))

    assert exited.signal == number


def test_a_hangup_that_is_ignored_is_ignored_by_the_program_too(host: Host) -> None:
    with disposition(signal.SIGHUP, signal.SIG_IGN):
        (exited,) = exits(supervise(host, script("kill -HUP $$; exit 7")))

    assert exited.status == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_signals_of_the_keyboard_go_to_what_the_program_waits_for(
    host: Host, ready: Path, number: signal.Signals
) -> None:
    async def beside(supervisor: Supervisor) -> None:
        await read_line(ready)
        supervisor.forward(number)

    name = number.name.removeprefix("SIG")
    text = f"trap : {name}; (trap 'exit 9' {name}; echo > ready; {FOREVER}); exit $?"
    (exited,) = exits(supervise(host, script(text, directory=str(ready.parent)), beside=beside))

    assert exited.status == 9


def test_a_signal_while_nothing_runs_stops(host: Host) -> None:
    def react(supervisor: Supervisor, event: Event) -> None:
        if isinstance(event, Restarting):
            asyncio.get_running_loop().call_soon(supervisor.forward, signal.SIGTERM)

    target = script("exit 1", restart=Restart.ALWAYS, restart_delay=3600.0, restart_delay_max=3600.0)

    assert len(exits(supervise(host, target, react=react))) == 1


def test_cancelled_it_ends_all_before_it_returns(host: Host) -> None:
    events: list[Event] = []

    async def main() -> None:
        started = asyncio.Event()

        def on_event(event: Event) -> None:
            events.append(event)
            started.set()

        with Supervisor(host, on_event=on_event) as supervisor:
            supervisor.add(script(FOREVER))
            running = asyncio.ensure_future(supervisor.run())
            await started.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(main())

    assert [event.reason for event in exits(events)] == [ExitReason.STOPPED]


def test_each_target_has_a_port_of_its_own(host: Host) -> None:
    with Supervisor(host, on_event=print) as supervisor:
        first, second = (supervisor.add(script("exit 0", name=name)) for name in "ab")
        names = {first.port.name, second.port.name, supervisor.port_set.name}

        assert len(names) == 3

    assert first.port.closed
    assert second.port.closed
    assert supervisor.port_set.closed


def test_targets_live_their_own_lives(host: Host) -> None:
    events = supervise(
        host,
        script("exit 0", name="short"),
        script("sleep 0.1; exit 3", name="long"),
        Target(name="missing", command=("/no/such/program",), restart=Restart.NEVER),
    )

    assert {("short", "exited"), ("long", "failed")} == {
        (event.target.name, event.reason.value) for event in exits(events)
    }


def test_a_behavior_that_the_system_lacks_is_refused_when_it_is_added(host: Host) -> None:
    with Supervisor(replace(host, release="14.6.1"), on_event=print) as supervisor:
        supervisor.add(script("exit 0"))
        with pytest.raises(UnsupportedReleaseError, match=r"needs macOS 15 or later, and this is 14\.6\.1"):
            supervisor.add(script("exit 0", behavior=Behavior.STATE_IDENTITY_PROTECTED))


def test_a_thousand_restarts_leave_nothing_behind(host: Host) -> None:
    counts = []

    def react(supervisor: Supervisor, event: Event) -> None:
        if isinstance(event, Exited):
            counts.append((len(descriptors()), ports.names()))
            if len(counts) == 1000:
                supervisor.stop()

    target = Target(
        name="x", command=("/bin/true",), restart=Restart.ALWAYS, restart_delay=0.0, restart_delay_max=0.0
    )
    supervise(host, target, clock=FastClock(), react=react)

    assert len(counts) == 1000
    assert all(count == counts[10] for count in counts[10:])
