"""The daemon's rendezvous server: programs fetch their exception port from it, and inserted libraries report.

What a parent cannot do for a program, the program can do with its own task port: register exception ports
although it is hardened, and set its guard behavior. It does the first with `client/excguard_client.c`; the
second that way, too, or by the library that excguard inserts (`native/insertion.h`).

A program that never asks, asks twice or dies before it asks holds up nothing.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, Final

from excguard.config import Delivery, Target
from excguard.knowledge.exception_behavior import Behavior
from excguard.knowledge.record import Record
from excguard.mach.errors import MachError, symbolic_name
from excguard.mach.ports import ReceiveRight
from excguard.mach.rendezvous import (
    Event,
    Inserted,
    InsertionReport,
    Launch,
    NothingToGive,
    Outcome,
    Port,
    Registered,
    Rejected,
    RendezvousServer,
    SendFailed,
    Unclaimed,
    environment,
)
from excguard.native import ffi, lib
from excguard.targets.delivery import DELIVER, offers_client
from excguard.targets.program import Program

INSERTION_VARIABLE: Final = "EXCGUARD_INSERTION"  # native/insertion.h

Emit = Callable[..., None]
"""Takes level, event name and fields, from any thread."""


class Started(Record):
    """A program that may ask or report."""

    target: str
    program: Program


class TargetLaunch:
    """A program that is being started, and may fetch its exception port."""

    def __init__(self, launch: Launch, started: Started, pids: dict[int, Started]) -> None:
        """Use `TargetRendezvous.launch`."""
        self._launch = launch
        self._started = started
        self._pids = pids

    def register(self, pid: int) -> None:
        """The program was started as ``pid``."""
        self._pids[pid] = self._started  # first: it may have ended already, which is reported at once
        self._launch.register(pid)


class TargetRendezvous:
    """The rendezvous server of the daemon, made when the first target needs it."""

    def __init__(self, service: str, emit: Emit) -> None:
        """Serve under ``service`` when it is needed, or under that name and this pid where it is taken."""
        self._service = service
        self._emit = emit
        self._server: RendezvousServer | None = None
        self._tried = False
        self._pids: dict[int, Started] = {}
        self._tokens: dict[int, Started] = {}

    @contextlib.contextmanager
    def launch(
        self, target: Target, program: Program, port: ReceiveRight
    ) -> Iterator[tuple[TargetLaunch | None, dict[str, str]]]:
        """Prepare the start of a target's program, which happens in the block.

        Yields the launch, which the pid is registered with, and the variables that the program needs. The
        launch is None when the program cannot fetch its port, or when there is no server (which is logged).
        """
        client = offers_client(program.plan, target)
        inserted = program.plan.library is not None
        server = self._get() if client or inserted else None
        if server is None:
            yield None, {}
            return
        started = Started(target.name, program)
        program.wait_for_reports = server.settle
        variables: dict[str, str] = {}
        if inserted:
            program.inserted = True
            self._tokens[program.token] = started
            children = int(program.plan.children)
            variables = program.plan.variables(target, os.environ)
            variables[INSERTION_VARIABLE] = f"{program.token:016x},{children},{server.service}"
        if not client:
            yield None, variables
            return
        variables |= server.environment
        flags = target.guard_flags
        if flags is None and program.plan.delivery is Delivery.CLIENT:
            flags = program.plan.flags | DELIVER  # the client replaces the flags, and may take none away
        if flags is not None:
            variables[environment.GUARD_BEHAVIOR] = str(int(flags))
        key = (
            lib.EXCGUARD_KEY_IDENTITY
            if target.behavior is Behavior.IDENTITY_PROTECTED
            else lib.EXCGUARD_KEY_STATE_IDENTITY
        )
        ports = {key: Port.make_send(port), lib.EXCGUARD_KEY_CONTROL: server.control_port()}
        with server.launch(ports) as launch:
            yield TargetLaunch(launch, started, self._pids), variables

    def forget(self, pid: int) -> None:
        """The process was reaped; its pid may be that of another process next."""
        if self._server is not None and pid in self._pids:
            self._server.forget(pid)
            self._pids.pop(pid, None)

    def ended(self, program: Program) -> None:
        """A program has ended with all its processes; later reports are refused."""
        self._tokens.pop(program.token, None)

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.close()

    def _get(self) -> RendezvousServer | None:
        if not self._tried:
            self._tried = True
            try:
                self._server = self._open()
            except MachError as error:
                self._emit("error", "rendezvous_unavailable", error=error.name, advice=error.advice)
        return self._server

    def _open(self) -> RendezvousServer:
        try:
            server = RendezvousServer(self._service, on_event=self._handle)
        except MachError:  # another excguard's, or a sandbox allows only names of its own
            server = RendezvousServer(f"{self._service}.{os.getpid()}", on_event=self._handle)
        self._emit("info", "rendezvous_offered", service=server.service)
        return server

    # ---- on the server's thread ----

    def _handle(self, event: Event) -> None:
        if isinstance(event, Inserted):
            self._report(event.report)
            return
        started = self._pids.get(event.pid)
        fields: dict[str, Any] = {"target": started and started.target, "pid": event.pid}
        match event:
            case Registered(outcome=Outcome.GRANTED.value):
                if started is not None:
                    started.program.registered("")
                self._emit("info", "target_registered_itself", **fields)
            case Registered(outcome=outcome, result=result):
                text = str(ffi.string(lib.excguard_client_outcome_name(outcome)), "ascii")
                if started is not None:
                    started.program.registered(text)
                self._emit(
                    "error", "target_not_registered", **fields, error=text, result=symbolic_name(result)
                )
            case Unclaimed():
                # Where the program was only offered its port, most programs do not ask.
                offered = started is not None and started.program.plan.delivery is Delivery.CLIENT
                self._emit("info" if offered else "warning", "target_never_asked", **fields)
            case NothingToGive(before=before):
                self._emit("info", "rendezvous_without_ports", **fields, before=before)
            case SendFailed(error=error):
                self._emit("warning", "rendezvous_answer_failed", **fields, error=error.name)
            case Rejected(reason=reason):
                self._emit("warning", "rendezvous_message_rejected", **fields, reason=reason)

    def _report(self, report: InsertionReport) -> None:
        """The inserted library of a process reports."""
        pid = report.sender.pid
        started = self._tokens.get(report.token)
        if started is None:
            reason = "a report of no program that runs here"
            self._emit("warning", "rendezvous_message_rejected", target=None, pid=pid, reason=reason)
            return
        started.program.take(report)
        if report.start:
            self._emit(
                "info",
                "library_inserted",
                target=started.target,
                pid=pid,
                path=report.images[0].path,
                flags_before=report.flags_before,
                flags_after=report.flags_after,
                error=symbolic_name(report.result) if report.result else None,
            )
