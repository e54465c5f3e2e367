"""The state of excguard's launchd jobs."""

from collections.abc import Iterator

from excguard.doctor.finding import Finding, Status
from excguard.doctor.machine import System
from excguard.launchd.install import domain_of
from excguard.launchd.job import Kind, Layout
from excguard.launchd.launchctl import Answer, Launchctl, LaunchctlError
from excguard.launchd.refusals import refusals


def launchd_job(system: System, kind: Kind) -> Iterator[Finding]:
    """The state of one job."""
    if system.host.simulated:
        return
    layout = Layout(kind, system.home)
    check = f"launchd {kind.value}"
    option = " --daemon" if kind is Kind.DAEMON else ""

    def run(arguments: list[str]) -> Answer:
        answer = system.run("launchctl", *arguments)
        if answer is None:
            raise LaunchctlError("launchctl: not on this machine", 127)
        return answer

    installed = layout.property_list.exists()
    problems = (
        list(refusals(layout.property_list, owner=0 if kind is Kind.DAEMON else system.uid))
        if installed
        else []
    )
    for problem in problems:
        text, _, advice = problem.partition("; ")
        yield Finding(check, Status.PROBLEM, text, "launchd does not load or start it", advice)
    try:
        state = Launchctl(domain_of(kind, system.uid), kind.label, run=run).state()
    except LaunchctlError as error:
        yield Finding(check, Status.WARNING, str(error), "whether it runs is not known")
        return
    if state is None:
        yield Finding(
            check,
            Status.WARNING if installed else Status.OK,
            "installed, not loaded" if installed else "not installed",
            "it starts with the next login" if installed else "nothing runs in the background",
            f"excguard launchd install{option}" if installed else "",
        )
    elif state.pid is not None:
        yield Finding(
            check, Status.OK, f"runs, pid {state.pid}", "hits are being watched for in the background"
        )
    else:
        yield Finding(
            check,
            Status.PROBLEM,
            f"loaded, {state.state or 'not running'}"
            + (f", last exit {state.last_exit}" if state.last_exit else ""),
            "launchd starts it again and again, and it does not stay",
            f"see why: excguard launchd logs{option}",
        )
