"""Events of a rendezvous server: values, for logs and tests."""

from excguard.knowledge.record import Record
from excguard.mach.errors import MachError
from excguard.mach.rendezvous.insertion import InsertionReport


class Claimed(Record):
    """A child received its ports."""

    pid: int
    ports: int


class NothingToGive(Record):
    """A process without registered ports sent a request, or (`before`) one that already received them."""

    pid: int
    before: bool


class Refused(Record):
    """A child did not meet its requirement and received no ports; `status` is an OSStatus."""

    pid: int
    status: int


class Validated(Record):
    """A child's requirement was checked: `status` is 0 or an OSStatus. Reported under either policy."""

    pid: int
    status: int


class SendFailed(Record):
    """A reply could not be sent: the child is gone, or a right that was to be copied is."""

    pid: int
    error: MachError


class Unclaimed(Record):
    """A process ended before it requested the ports registered for it."""

    pid: int
    ports: int


class Registered(Record):
    """A child reports how `excguard_client_watch_self` went: an outcome and a kern_return_t."""

    pid: int
    outcome: int
    result: int


class Rejected(Record):
    """A message violated the protocol and was destroyed; `pid` is 0 when its sender is unknown."""

    pid: int
    reason: str


class Inserted(Record):
    """The library that was inserted into a process reports."""

    pid: int
    report: InsertionReport


Event = (
    Claimed | NothingToGive | Refused | Validated | SendFailed | Unclaimed | Registered | Inserted | Rejected
)
