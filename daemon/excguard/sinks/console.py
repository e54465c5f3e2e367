"""The log for people: which rule was broken, by which program, and how to fix it.

    14:03:07.120 optional  INVALID_NAME  mail (pid 4242)  code 0x2000020000002703, subcode 0x0
        The program passed a port name that is not in its name space.
        Fix: ...

What happened and how to fix it is there with the first hit of a site; further ones are one line each, or one
line for many of them.

Whatever comes from a watched program or a configuration (names, arguments) is shown with its control
characters escaped: it can be hostile, and this goes to a terminal.
"""

import textwrap
from collections.abc import Mapping, MutableMapping
from typing import Any, TypeVar

import click

from excguard.decoding.site import Place
from excguard.files.escaping import printable
from excguard.knowledge.severity import Severity

_LEVEL_COLORS = {"error": "red", "warning": "yellow"}
# What is of no use at a terminal.
_QUIET = {"timestamp", "level", "event", "kernel", "release"}
_INDENT = " " * 4
_MAX_REMEMBERED = 10_000

_Value = TypeVar("_Value")


class ConsoleForm:
    """Renders one event; call it with the event's fields."""

    def __init__(self, *, color: bool, width: int = 100) -> None:
        """Wrap at ``width`` columns."""
        self._color = color
        self._width = width
        # Sites whose explanation was shown; the place of the last hit, see `_place_key`.
        self._explained: dict[object, None] = {}
        self._places: dict[object, str] = {}

    def __call__(self, event: MutableMapping[str, Any]) -> str:
        """The lines of ``event``, joined."""
        clock = self._style(event["timestamp"][11:23], dim=True)
        if event["event"] == "guard_hit":
            return self._hit(clock, event)
        if event["event"] == "guard_hits_suppressed":
            return self._suppressed(clock, event)
        shown = [(key, value) for key, value in event.items() if key not in _QUIET and value is not None]
        words = "  ".join(f"{key}={_shown(value)}" for key, value in shown)
        name = self._style(event["event"].replace("_", " "), fg=_LEVEL_COLORS.get(event["level"]))
        return f"{clock} {name}  {words}".rstrip()

    def _hit(self, clock: str, event: MutableMapping[str, Any]) -> str:
        severity = Severity.of(event["severity"])
        name = event["flavor_name"] or event["guard_type"]
        who = f"pid {event['pid'] or 'unknown'}" + (", inherited" if event["inherited"] else "")
        if event["source"] != "live":
            who += f", from a {event['source'].replace('_', ' ')}"
        where = f"code {event['code']}" + (f", subcode {event['subcode']}" if event["subcode"] else "")
        if "image" in event:
            place = f", in {printable(_place(event))}"
            where += place
            _remember(self._places, _place_key(event), place)
        elif "pc" in event:
            where += f", pc {event['pc']}"
        lines = [
            f"{clock} {self._severity(severity)} {self._style(str(name), bold=True)}  "
            f"{printable(event['target'])} ({who})  {self._style(where, dim=True)}"
            + (self._style("  recovered", dim=True) if event["recovered"] else "")
        ]
        site = event["target"], event.get("site_id"), event["guard_type"], event["flavor"]
        if site not in self._explained:
            _remember(self._explained, site, None)
            lines += self._paragraph(event["summary"])
            if event.get("advice"):
                lines += self._paragraph(f"Fix: {event['advice']}", fg="green")
        return "\n".join(lines)

    def _suppressed(self, clock: str, event: MutableMapping[str, Any]) -> str:
        severity = Severity.of(event.get("severity"))
        name = event.get("flavor_name") or event.get("guard_type") or "various"
        more = f"{event['count']} more" + (" (recovered)" if event["recovered"] else "")
        more += self._places.get(_place_key(event), "")
        return (
            f"{clock} {self._severity(severity)} {self._style(str(name), bold=True)}  "
            f"{printable(event['target'])}  {more}"
        )

    def _severity(self, severity: Severity) -> str:
        return self._style(severity.ljust(8), fg=severity.color)

    def _paragraph(self, text: str, **style: Any) -> list[str]:  # noqa: ANN401 - click.style's own arguments
        lines = textwrap.wrap(
            printable(text), max(self._width, 40), initial_indent=_INDENT, subsequent_indent=_INDENT
        )
        return [self._style(line, **style) for line in lines]

    def _style(self, text: str, **style: Any) -> str:  # noqa: ANN401 - click.style's own arguments
        return click.style(text, **style) if self._color else text


def _remember(known: dict[object, _Value], key: object, value: _Value) -> None:
    known[key] = value
    if len(known) > _MAX_REMEMBERED:
        del known[next(iter(known))]


def _place_key(event: Mapping[str, Any]) -> tuple[object, ...]:
    return event["target"], event.get("guard_type"), event.get("flavor"), event.get("pc")


def _place(event: Mapping[str, Any]) -> str:
    offset = event.get("image_offset")
    return str(
        Place(
            event["image"],
            offset=int(offset, 16) if offset else None,
            symbol=event.get("symbol", ""),
            symbol_offset=event.get("symbol_offset"),
        )
    )


def _shown(value: object) -> str:
    match value:
        case Mapping():  # counts
            return printable(", ".join(f"{count} {what}" for what, count in value.items())) or "none"
        case list():
            return printable(", ".join(map(str, value))) or "none"
    return printable(str(value))
