"""A program's code signature, as far as it decides who may watch the program: codesign(1) is asked."""

import plistlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from excguard.launchd.launchctl import Answer

# Runs a program of the system; None where there is no such program.
Run = Callable[..., Answer | None]


@dataclass(frozen=True)
class Signature:
    """What codesign prints about a program.

    Attributes:
        runtime: signed with the hardened runtime.
        team: the signer's team; None for ad-hoc signatures.
        entitlements: by name.
    """

    runtime: bool
    team: str | None
    entitlements: dict[str, object]

    def has(self, entitlement: str) -> bool:
        """Whether an entitlement is there and not false."""
        return bool(self.entitlements.get(entitlement))

    @property
    def platform_restrictions(self) -> bool:
        """Whether Enhanced Security's platform restrictions are on, in either spelling."""
        name = "com.apple.security.hardened-process.platform-restrictions"
        return self.has(name) or self.has(f"{name}-string")

    @property
    def text(self) -> str:
        """In words, with the entitlements that matter here."""
        words = [f"team {self.team}" if self.team else "signed ad hoc"]
        words += ["hardened runtime"] if self.runtime else []
        names = ("get-task-allow", "only-one-exception-port", "cs.debugger")
        words += [name for name in names if self.has(f"com.apple.security.{name}")]
        words += ["platform restrictions"] if self.platform_restrictions else []
        return ", ".join(words)


def read(run: Run, program: Path) -> Signature | None:
    """The signature of a program; None when it has none. codesign(1) prints it on standard error."""
    shown = run("codesign", "-d", "--verbose=2", str(program))
    if shown is None or shown.status != 0:
        return None
    text = shown.error + shown.output
    flags = re.search(r"flags=0x([0-9a-fA-F]+)", text)
    team = re.search(r"(?m)^TeamIdentifier=(\w+)$", text)
    listed = run("codesign", "-d", "--entitlements", "-", "--xml", str(program))
    entitlements: dict[str, object] = {}
    if listed is not None and listed.output.strip():
        try:
            entitlements = plistlib.loads(listed.output.encode())
        except Exception:  # noqa: BLE001 - plistlib lets the errors of expat and of each value type through
            entitlements = {}
    return Signature(
        # CS_RUNTIME, bsd/sys/codesign.h -> osfmk/kern/cs_blobs.h (xnu-11417.121.6)
        runtime=bool(flags and int(flags[1], 16) & 0x10000),
        team=team[1] if team and team[1] != "not" else None,
        entitlements=entitlements,
    )
