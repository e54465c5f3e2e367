"""The child's half: request once, take each right once.

The exchange and the check of the reply are C, the very code that other programs embed
(`excguard/client/excguard_client.c`).
"""

import enum
import os
import threading
from collections.abc import MutableMapping
from typing import Any, ClassVar, Final

from excguard.mach.errors import symbolic_name
from excguard.mach.ports import ReceiveRight, SendOnceRight, SendRight
from excguard.mach.rendezvous import environment
from excguard.mach.rendezvous.requirement import Requirement, Validation, describe
from excguard.mach.rendezvous.wire import Protocol
from excguard.native import ffi, lib
from excguard.native.closeable import Closeable

_POLICIES: Final = {policy.value: policy for policy in Validation}


class Outcome(enum.Enum):
    """The result of a request; the values are those of `excguard_client.h`."""

    GRANTED = 0
    """The ports that were registered are here; there may be none of them."""
    UNKNOWN = 1
    """The server has no ports for this process."""
    CLAIMED_BEFORE = 2
    """This process has already received its ports."""
    REFUSED = 3
    """This program's code signature does not meet the server's requirement."""
    OTHER_VERSION = 4
    """The server does not support this version of the protocol."""
    NOT_CONFIGURED = 5
    """The environment names no server."""
    NO_SERVER = 6
    """No process offers the service."""
    TIMED_OUT = 7
    """No reply in time."""
    NO_ANSWER = 8
    """The server died, or dropped the request."""
    BAD_REPLY = 9
    """It sent an invalid reply."""
    WRONG_SERVER = 10
    """A process other than the one that the environment names replied."""
    UNTRUSTED_SERVER = 11
    """The server's code signature does not meet the requirement."""
    SYSTEM_ERROR = 12
    """A Mach call failed."""

    @property
    def text(self) -> str:
        """A description."""
        return str(ffi.string(lib.excguard_client_outcome_name(self.value)), "ascii")


class RendezvousError(Exception):
    """There was no rendezvous.

    Attributes:
        outcome: why; never one of the first four.
    """

    def __init__(self, outcome: Outcome, detail: str = "") -> None:
        """Describe ``outcome``; ``detail`` goes behind it."""
        self.outcome = outcome
        super().__init__(outcome.text + (f": {detail}" if detail else ""))


class RendezvousClient(Closeable):
    """The rights that the server had for this process and that were not taken yet.

    Attributes:
        outcome: `Outcome.GRANTED`, or why there are no rights: UNKNOWN, CLAIMED_BEFORE, REFUSED.
        server_pid: who answered.
        server_validation: what the check of the server's signature said: 0 or an OSStatus; 0 also when
            nothing was checked.
    """

    _lock: ClassVar = threading.Lock()
    _result: ClassVar["RendezvousClient | RendezvousError | None"] = None

    def __init__(self, client: Any) -> None:  # noqa: ANN401 (a struct excguard_client)
        """Use `get` or `acquire`."""
        self.outcome = Outcome(client.outcome)
        self.server_pid: int = client.server[5]
        self.server_validation: int = client.validation
        self._rights_lock = threading.Lock()
        kinds = {
            lib.MACH_MSG_TYPE_PORT_RECEIVE: ReceiveRight,
            lib.MACH_MSG_TYPE_PORT_SEND: SendRight,
            lib.MACH_MSG_TYPE_PORT_SEND_ONCE: SendOnceRight,
        }
        # A port that died on the way arrives as MACH_PORT_DEAD.
        self._rights: dict[int, ReceiveRight | SendRight | SendOnceRight] = {
            port.key: kinds[port.kind](port.name)
            for port in client.ports[0 : client.count]
            if port.name not in (lib.MACH_PORT_NULL, lib.MACH_PORT_DEAD)
        }

    @classmethod
    def get(cls, *, server_requirement: Requirement | None = None) -> "RendezvousClient":
        """The one exchange of this process, done by the first call; later ones return or raise the same.

        Args:
            server_requirement: what the server has to fulfil, under the policy in the environment;
                only the first call uses it.

        Raises:
            RendezvousError: there was no rendezvous.
        """
        with cls._lock:
            if cls._result is None:
                try:
                    cls._result = cls._from_environment(os.environ, server_requirement)
                except RendezvousError as error:
                    cls._result = error
            if isinstance(cls._result, RendezvousError):
                raise cls._result
            return cls._result

    @classmethod
    def _from_environment(
        cls, variables: MutableMapping[str, str], server_requirement: Requirement | None
    ) -> "RendezvousClient":
        names = (environment.SERVICE, environment.SERVER_PID, environment.VALIDATION, environment.TIMEOUT)
        service, pid, policy, timeout = (variables.pop(name, "") for name in names)
        if not service or not _is_number(pid):
            raise RendezvousError(Outcome.NOT_CONFIGURED)
        return cls.acquire(
            service,
            server_pid=int(pid),
            server_requirement=server_requirement,
            validation=_POLICIES.get(policy, Validation.OFF),
            timeout=float(timeout) if _is_number(timeout) else environment.DEFAULT_TIMEOUT,
        )

    @classmethod
    def acquire(  # noqa: PLR0913 - one for each thing that can be asked for
        cls,
        service: str,
        *,
        server_pid: int = 0,
        server_requirement: Requirement | None = None,
        validation: Validation = Validation.OFF,
        timeout: float = environment.DEFAULT_TIMEOUT,
        protocol: Protocol = Protocol.EXCGUARD,
    ) -> "RendezvousClient":
        """Request this process's ports from a server, which gives them once. Each call sends a request.

        Args:
            service: its name.
            server_pid: the process that must reply; 0 for any.
            server_requirement: the requirement that this process must meet.
            validation: what is done about it.
            timeout: seconds for the whole exchange; 0 for no limit.
            protocol: the protocol to use.

        Raises:
            RendezvousError: there was no rendezvous.
            ValueError: a name that is too long for bootstrap.
        """
        encoded = service.encode()
        if not 0 < len(encoded) < lib.BOOTSTRAP_MAX_NAME_LEN or b"\0" in encoded:
            raise ValueError(f"invalid service name {service!r}: 1 to 127 bytes, no NUL")
        text = ffi.new("char[]", server_requirement.text.encode() if server_requirement else b"")
        options = ffi.new(
            "struct excguard_client_options *",
            {
                "service": encoded,
                "server_pid": server_pid,
                "timeout_ms": min(round(timeout * 1000), 0xFFFFFFFF) or int(timeout > 0),
                "protocol": (
                    lib.EXCGUARD_CLIENT_PROTOCOL_CHROMIUM
                    if protocol is Protocol.CHROMIUM
                    else lib.EXCGUARD_CLIENT_PROTOCOL_EXCGUARD
                ),
                "validation": validation.number,
                "server_requirement": text,
            },
        )
        answer = ffi.new("struct excguard_client *")
        outcome = Outcome(lib.excguard_client_acquire(options, answer))
        if outcome in (Outcome.GRANTED, Outcome.UNKNOWN, Outcome.CLAIMED_BEFORE, Outcome.REFUSED):
            return cls(answer)
        if outcome is Outcome.UNTRUSTED_SERVER:
            raise RendezvousError(outcome, describe(answer.validation))
        detail = symbolic_name(answer.result) if answer.result else ""
        raise RendezvousError(outcome, detail)

    def take_send_right(self, key: int) -> SendRight | SendOnceRight | None:
        """The send or send-once right under ``key``, the caller's from now on; None: none, or taken before.

        Raises:
            TypeError: a receive right is under this key; it stays there.
        """
        right = self._take(key, (SendRight, SendOnceRight))
        return right if isinstance(right, SendRight | SendOnceRight) else None

    def take_receive_right(self, key: int) -> ReceiveRight | None:
        """The receive right under ``key``, the caller's from now on; None: none, or taken before.

        Raises:
            TypeError: another right is under this key; it stays there.
        """
        right = self._take(key, (ReceiveRight,))
        return right if isinstance(right, ReceiveRight) else None

    def port_count(self) -> int:
        """How many rights are left."""
        with self._rights_lock:
            return len(self._rights)

    def close(self) -> None:
        """Release the rights that were not taken."""
        with self._rights_lock:
            while self._rights:
                self._rights.popitem()[1].close()

    def _take(self, key: int, kinds: tuple[type, ...]) -> ReceiveRight | SendRight | SendOnceRight | None:
        with self._rights_lock:
            right = self._rights.get(key)
            if right is not None and not isinstance(right, kinds):
                raise TypeError(f"under key {key:#x} is a {type(right).__name__}")
            return self._rights.pop(key, None)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) <= 0x7FFFFFFF
