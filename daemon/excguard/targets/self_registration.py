"""Targets that register their exception port themselves: the daemon's use of port rendezvous.

What a parent cannot do for a program, the program can do with its own task port: set exception ports although
it is hardened, and set its guard behavior. With ``attach = "rendezvous"`` or ``"both"`` the daemon keeps the
port ready, and a program with `client/excguard_client.c` in it fetches and registers it.

A program that never asks, asks twice or dies before it asks costs nothing and holds nobody up.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from excguard.knowledge.exception_behavior import Behavior
from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.mach.errors import MachError, symbolic_name
from excguard.mach.ports import ReceiveRight
from excguard.mach.rendezvous import (
    Event,
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

Tell = Callable[..., None]
"""Takes level, event name and fields, from any thread."""


class TargetRendezvous:
    """The rendezvous server of the daemon, made when the first target needs it."""

    def __init__(self, service: str, tell: Tell) -> None:
        """Serve under ``service`` once it is needed, or under that name and this pid where it is taken."""
        self._service = service
        self._tell = tell
        self._server: RendezvousServer | None = None
        self._tried = False
        self._targets: dict[int, str] = {}

    @contextlib.contextmanager
    def launch(
        self, target: str, port: ReceiveRight, behavior: Behavior, guard_behavior: GuardBehavior | None
    ) -> Iterator[tuple[Launch, dict[str, str]] | None]:
        """Hold the launch lock while a target's program starts.

        Yields the launch, to be told the pid, and the variables that the program needs; None when there is no
        server to be had, which the log tells.
        """
        server = self._get()
        if server is None:
            yield None
            return
        key = (
            lib.EXCGUARD_KEY_IDENTITY
            if behavior is Behavior.IDENTITY_PROTECTED
            else lib.EXCGUARD_KEY_STATE_IDENTITY
        )
        variables = server.environment
        if guard_behavior is not None:
            variables[environment.GUARD_BEHAVIOR] = str(int(guard_behavior))
        ports = {key: Port.make_send(port), lib.EXCGUARD_KEY_CONTROL: server.control_port()}
        with server.launch(ports) as launch:
            yield launch, variables
            # The child is not answered before the lock is let go of, so whatever is told of it has a name.
            if launch.pid:
                self._targets[launch.pid] = target

    def forget(self, pid: int) -> None:
        """The process was reaped; whoever has its pid next is somebody else."""
        if self._server is not None and pid in self._targets:
            self._server.forget(pid)
            self._targets.pop(pid, None)

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
                self._tell("error", "rendezvous_unavailable", error=error.name, advice=error.advice)
        return self._server

    def _open(self) -> RendezvousServer:
        try:
            server = RendezvousServer(self._service, on_event=self._told)
        except MachError:  # another excguard's, or a sandbox allows names of its own only
            server = RendezvousServer(f"{self._service}.{os.getpid()}", on_event=self._told)
        self._tell("info", "rendezvous_offered", service=server.service)
        return server

    def _told(self, event: Event) -> None:
        """On the server's thread."""
        fields: dict[str, Any] = {"target": self._targets.get(event.pid), "pid": event.pid}
        match event:
            case Registered(outcome=Outcome.GRANTED.value):
                self._tell("info", "target_registered_itself", **fields)
            case Registered(outcome=outcome, result=result):
                text = str(ffi.string(lib.excguard_client_outcome_name(outcome)), "ascii")
                self._tell(
                    "error", "target_not_registered", **fields, error=text, result=symbolic_name(result)
                )
            case Unclaimed():
                self._tell("warning", "target_never_asked", **fields)
            case NothingToGive(before=before):
                self._tell("info", "rendezvous_without_ports", **fields, before=before)
            case SendFailed(error=error):
                self._tell("warning", "rendezvous_answer_failed", **fields, error=error.name)
            case Rejected(reason=reason):
                self._tell("warning", "rendezvous_message_rejected", **fields, reason=reason)
