"""The exception behaviors that excguard registers, which give away no control port, and their names."""

import enum


class Behavior(enum.Enum):
    """What the kernel puts into an exception message; the values are the words of the configuration."""

    AUTO = "auto"
    """One of the others, see `targets.behavior`: only in configurations, never registered."""

    IDENTITY_PROTECTED = "identity_protected"
    """A token for the task's identity and the thread's id."""

    STATE_IDENTITY_PROTECTED = "state_identity_protected"
    """The same, and the registers of the thread."""

    @property
    def since(self) -> str:
        """The first release that has it: osfmk/mach/exception_types.h of xnu-8019.41.5 and xnu-11215.1.10."""
        return "15" if self is Behavior.STATE_IDENTITY_PROTECTED else "12"
