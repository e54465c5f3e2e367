"""`excguard decode --raw`: raw Mach messages, judged by the C parser that the receiver uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from excguard.native import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Iterable

_BEHAVIORS = {4: "identity_protected", 5: "state_identity_protected"}
"""By the number of exception_types.h, in the words of the configuration and the log."""

_NOT_HEX = {"verdict": "not_hex", "sender": "unknown"}
"""About a line that holds no message at all; the other verdicts are those of `excguard_parse`."""


def read_messages(lines: Iterable[bytes], *, as_json: bool) -> None:
    """Judge the message on each line (hex, spaces allowed; an empty line is a message of no bytes).

    Each line has its verdict, those that are not hex included.

    Raises:
        click.UsageError: after the last line, when some lines were not hex, or when there was none.
    """
    bad = []
    number = 0
    for number, line in enumerate(lines, 1):
        message = _bytes(line)
        if message is None:
            bad.append(number)
        judged = _NOT_HEX if message is None else judge(message)
        click.echo(msgspec.json.encode(judged).decode() if as_json else _text(judged))
    if number == 0:
        raise click.ClickException("nothing found: no message on standard input")
    if bad:
        shown = ", ".join(map(str, bad[:5])) + (" ..." if len(bad) > 5 else "")
        raise click.UsageError(f"standard input, line {shown}: not a message as hex digits, two a byte")


def _bytes(line: bytes) -> bytes | None:
    try:
        return bytes.fromhex(line.decode("ascii"))
    except ValueError:
        return None


def judge(message: bytes) -> dict[str, Any]:
    """The verdict on a message, with or without its trailer, and the arguments of an accepted one."""
    out = ffi.new("struct excguard_message *")
    lib.excguard_parse(message, len(message), lib.EXCGUARD_PARSE_OFFLINE, out)
    judged: dict[str, Any] = {
        "verdict": ffi.string(lib.excguard_verdict_name(out.verdict)).decode(),
        "sender": ffi.string(lib.excguard_sender_name(out.sender)).decode(),
    }
    if out.verdict != lib.EXCGUARD_ACCEPTED:
        return judged
    judged |= {
        "msgh_id": out.msgh_id,
        "exception": out.exception,
        "behavior": _BEHAVIORS.get(out.behavior, str(out.behavior)),
        "thread_id": out.thread_id,
        "code": f"{out.code:#x}" if out.present & lib.EXCGUARD_HAS_CODE else None,
        "subcode": f"{out.subcode:#x}" if out.present & lib.EXCGUARD_HAS_SUBCODE else None,
    }
    if out.present & lib.EXCGUARD_HAS_STATE:
        judged |= {"state_flavor": out.state_flavor, "state_count": out.state_count}
    return judged


def _text(judged: dict[str, Any]) -> str:
    rest = "  ".join(f"{key} {value}" for key, value in judged.items() if key not in {"verdict", "sender"})
    return f"{judged['verdict']}, from {judged['sender']}" + (f"  {rest}" if rest else "")
