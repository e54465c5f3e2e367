"""``task_exc_guard`` flags: what the kernel does to a task that breaks a rule of the less severe kind.

Two sets of four bits, one for virtual memory (``VM_``) and one for Mach ports (``MP_``). They apply to soft
and optional guards only: fatal ones are delivered and end the task whatever the flags are.
`mach.guard_behavior` reads and sets them.
"""

import enum


class GuardBehavior(enum.IntFlag):
    """The flags, with the kernel's names and values (mach/task_info.h: ``TASK_EXC_GUARD_``)."""

    VM_DELIVER = 0x01
    """Violations of virtual memory rules become EXC_GUARD exceptions; without it they are not delivered."""
    VM_ONCE = 0x02
    """Only the task's first one does."""
    VM_CORPSE = 0x04
    """It is delivered from a copy of the task, which goes on meanwhile."""
    VM_FATAL = 0x08
    """It ends the task."""
    MP_DELIVER = 0x10
    """As `VM_DELIVER`, for the rules of Mach ports."""
    MP_ONCE = 0x20
    """As `VM_ONCE`."""
    MP_CORPSE = 0x40
    """As `VM_CORPSE`."""
    MP_FATAL = 0x80
    """As `VM_FATAL`, for optional flavors; soft ones never end a task."""

    @classmethod
    def parse(cls, text: str) -> "GuardBehavior":
        """Read names or numbers joined by ``|``: ``"MP_DELIVER|MP_FATAL"``, ``"0x90"``, ``""``.

        Raises:
            ValueError: an unknown name or a number with unknown bits; the text says what is allowed.
        """
        words = [word.strip() for word in text.split("|")] if text.strip() else []
        flags = cls(0)
        for word in words:
            name = word.upper().removeprefix("TASK_EXC_GUARD_")
            if name in cls.__members__:
                flags |= cls[name]
                continue
            try:
                number = int(word, 0)
            except ValueError:
                number = -1
            if not 0 <= number <= 0xFF:
                raise ValueError(
                    f"{word!r} is not a task_exc_guard flag; allowed: {', '.join(cls.__members__)}, "
                    "or a number up to 0xff; several joined by |"
                )
            flags |= cls(number)
        return flags

    def text(self) -> str:
        """The names joined by ``|``; ``"NONE"`` without any."""
        return "|".join(flag.name or hex(flag) for flag in self) or "NONE"
