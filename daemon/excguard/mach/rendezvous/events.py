"""Events of a rendezvous server: values, for logs and tests."""

from dataclasses import dataclass

from excguard.mach.errors import MachError
from excguard.mach.rendezvous.insertion import InsertionReport


@dataclass(frozen=True)
class Claimed:
    """A child received its ports."""

    pid: int
    ports: int


@dataclass(frozen=True)
class NothingToGive:
    """A process without registered ports sent a request, or (`before`) one that already received them."""

    pid: int
    before: bool


@dataclass(frozen=True)
class Refused:
    """A child did not meet its requirement and received no ports; `status` is an OSStatus."""

    pid: int
    status: int


@dataclass(frozen=True)
class Validated:
    """A child's requirement was checked: `status` is 0 or an OSStatus. Reported under either policy."""

    pid: int
    status: int


@dataclass(frozen=True)
class SendFailed:
    """A reply could not be sent: the child is gone, or a right that was to be copied is."""

    pid: int
    error: MachError


@dataclass(frozen=True)
class Unclaimed:
    """A process ended before it requested the ports registered for it."""

    pid: int
    ports: int


@dataclass(frozen=True)
class Registered:
    """A child reports how `excguard_client_watch_self` went: an outcome and a kern_return_t."""

    pid: int
    outcome: int
    result: int


@dataclass(frozen=True)
class Rejected:
    """A message violated the protocol and was destroyed; `pid` is 0 when its sender is unknown."""

    pid: int
    reason: str


@dataclass(frozen=True)
class Inserted:
    """The library that was inserted into a process reports."""

    pid: int
    report: InsertionReport


Event = (
    Claimed | NothingToGive | Refused | Validated | SendFailed | Unclaimed | Registered | Inserted | Rejected
)
