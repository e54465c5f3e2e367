"""What was read of one crash report, debugger line or other document."""

from __future__ import annotations

from typing import Any

import msgspec

from excguard.decoding.site import Place, Site, innermost
from excguard.decoding.violation import PartialViolation  # noqa: TC001 - msgspec reads the annotation


class Check(msgspec.Struct, frozen=True, gc=False):
    """Whether two places of a report agree.

    Attributes:
        name: What was compared: "exception_codes", "guard_type", "words", "target", "subcode", "code".
        ok: Whether they agree.
        detail: What they say, and when they differ which one is used and why.
    """

    name: str
    ok: bool
    detail: str


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame of the thread that broke the rule.

    Attributes:
        index: 0 is the innermost.
        image: The library or program; "" when not known.
        offset: Bytes from the image's start; None when not known.
        address: The program counter; None when not known.
        symbol: The function; "" when not known.
        symbol_offset: Bytes from the function's start; None when not known.
        path: Of the image; "" when not known.
        uuid: Of the image (LC_UUID); "" when not known.
        arch: Of the image, "arm64e"; "" when not known.
        source: "foo.c:12", where a symbolizer found it.
    """

    index: int
    image: str
    offset: int | None = None
    address: int | None = None
    symbol: str = ""
    symbol_offset: int | None = None
    path: str = ""
    uuid: str = ""
    arch: str = ""
    source: str = ""

    @property
    def place(self) -> Place:
        """Where it is, for the identity of sites."""
        return Place(self.path or self.image, self.uuid, self.offset, self.symbol, self.symbol_offset)

    def __str__(self) -> str:
        """The frame on one line: "0 libsystem_kernel.dylib+0x1214 mach_msg2_trap + 8"."""
        place = self.image or "?"
        if self.offset is not None:
            place += f"+{self.offset:#x}"
        elif self.address is not None:
            place += f" {self.address:#x}"
        symbol = f" {self.symbol}" + ("" if self.symbol_offset is None else f" + {self.symbol_offset}")
        source = f" ({self.source})" if self.source else ""
        return f"{self.index} {place}{symbol if self.symbol else ''}{source}"


class Report(msgspec.Struct, kw_only=True, gc=False):
    """A crash report, a debugger's line or any other text, read.

    Attributes:
        file: Where it came from, "-" for text.
        format: "ips", "crash", "lldb", "kernel-log", "minidump", "minidump-stackwalk", "json", "text".
        kind: "crash", "simulated" (not a crash), or another kind of report by name ("JetsamEvent").
        process: Its name.
        pid: Its process id.
        os: The system it ran on, as printed.
        cpu: The kind of processor, as printed.
        exception_type: "EXC_GUARD", ...
        violations: Every guard violation in it; `excguard.Violation`, or a PartialViolation where the report
            leaves numbers out.
        checks: What was compared.
        frames: The top frames of the thread.
        truncated: Whether the report was cut off; it is read as far as it goes.
        notes: What else is known.
        error: Why nothing could be read, in one line; None when something was.
    """

    file: str = "-"
    format: str = "text"
    kind: str = "crash"
    process: str | None = None
    pid: int | None = None
    os: str | None = None
    cpu: str | None = None
    exception_type: str | None = None
    violations: list[PartialViolation] = []
    checks: list[Check] = []
    frames: list[Frame] = []
    truncated: bool = False
    notes: list[str] = []
    error: str | None = None

    def site(self, violation: PartialViolation) -> Site:
        """What identifies one of the violations across reports and runs: its frames, else the process."""
        return Site.of(violation, innermost(frame.place for frame in self.frames), self.process or "")

    def site_fields(self, violation: PartialViolation) -> dict[str, str | None]:
        """``site_id`` and ``site_precision``; None where neither frames nor the process are known."""
        site = self.site(violation)
        known = site.precision != "executable" or bool(site.executable)
        return {
            "site_id": site.id if known else None,
            "site_precision": site.precision if known else None,
        }

    def to_dict(self) -> dict[str, Any]:
        """The object that `--json` prints; violations as `decode --json` prints them, and with their site."""
        found: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(self, violations=[]))
        found["violations"] = [
            violation.to_dict() | self.site_fields(violation) for violation in self.violations
        ]
        for frame in found["frames"]:
            for name in ("offset", "address"):
                frame[name] = None if frame[name] is None else f"{frame[name]:#x}"
        return found
