"""What a rendezvous server has to tell: values, for logs and tests."""

from dataclasses import dataclass

from excguard.mach.errors import MachError


@dataclass(frozen=True)
class Claimed:
    """A child has its ports."""

    pid: int
    ports: int


@dataclass(frozen=True)
class NothingToGive:
    """A process asked that has nothing registered, or (`before`) that had its ports already."""

    pid: int
    before: bool


@dataclass(frozen=True)
class Refused:
    """A child did not fulfil its requirement and got nothing; `status` is an OSStatus."""

    pid: int
    status: int


@dataclass(frozen=True)
class Validated:
    """A child's requirement was checked: `status` is 0 or an OSStatus. Told under either policy."""

    pid: int
    status: int


@dataclass(frozen=True)
class SendFailed:
    """An answer could not be sent: the child is gone, or a right that was to be copied is."""

    pid: int
    error: MachError


@dataclass(frozen=True)
class Unclaimed:
    """A process ended without having asked for what was registered for it."""

    pid: int
    ports: int


@dataclass(frozen=True)
class Attached:
    """A child reports how `excguard_client_watch_self` went: an outcome and a kern_return_t."""

    pid: int
    outcome: int
    result: int


@dataclass(frozen=True)
class Rejected:
    """A message was none of the protocol's and was destroyed; `pid` is 0 when its sender is unknown."""

    pid: int
    reason: str


Event = Claimed | NothingToGive | Refused | Validated | SendFailed | Unclaimed | Attached | Rejected
