"""Errors of a configuration, in the words of the file: key, what is wrong, what is allowed."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import inspect

from excguard.config.lines import KeyPath
from excguard.config.settings import Config


class ConfigError(ValueError):
    """An invalid configuration, in one line: file, line, key, what is wrong, what is allowed.

    Attributes:
        key: the key, as in "log.path" and "target[2].restart"; None when no single one is at fault.
        line: its line in the file; None when it is not in it.
    """

    def __init__(self, text: str, key: KeyPath = (), line: int | None = None) -> None:
        """Say what is wrong, and with which key."""
        super().__init__(text)
        self.path = key
        self.key = (
            re.sub(r"\.\[", "[", ".".join(f"[{s + 1}]" if isinstance(s, int) else s for s in key)) or None
        )
        self.line = line


class Problem(NamedTuple):
    """What is wrong with a key.

    Attributes:
        path: the key.
        text: "key: what is wrong; what is allowed".
    """

    path: KeyPath
    text: str


def explain(raw: Mapping[str, Any], message: str) -> Problem:
    """A msgspec error about ``raw``, the parsed file."""
    found = re.fullmatch(r"(?s)(.*?)(?: - at `\$(.*)`)?", message)
    problem, where = (found[1], found[2] or "") if found else (message, "")
    value: Any = raw
    kind: inspect.Type = inspect.type_info(Config)
    key = ""
    path: list[str | int] = []
    for name, index in re.findall(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]", where):
        kind = _inner(kind, name)
        if index != "...":
            path.append(name or int(index))
        if name:
            key = f"{key}{'.' if key and not key.endswith(' ') else ''}{name}"
            value = value.get(name) if isinstance(value, Mapping) else None
        elif index != "...":
            value = value[int(index)] if isinstance(value, list) else value
            if key == "target":
                given = value.get("name") if isinstance(value, Mapping) else None
                key = target_key(int(index) + 1, given if isinstance(given, str) else "") + " "
            else:
                key = f"{key}[{int(index) + 1}]"
    key = key.strip()
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", problem, re.DOTALL)
    missing = re.fullmatch(r"Object missing required field `(.*)`", problem, re.DOTALL)
    bare = _bare(kind)
    if unknown and isinstance(bare, inspect.StructType):
        fields = [field.encode_name for field in bare.fields]
        import difflib  # noqa: PLC0415 - for this error alone

        near = difflib.get_close_matches(unknown[1], fields, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        place = f"{key}: " if key else ""
        text = f"{place}unknown key {_shown(unknown[1])}; {hint}allowed: {', '.join(fields)}"
        return Problem((*path, unknown[1]), text)
    if missing:
        text = f"{key}: {missing[1]} is missing; each [[target]] needs a name and a command"
    else:
        text = wrong(key or "the file", value, _allowed(kind))
    return Problem(tuple(path), text)


def _inner(kind: inspect.Type, name: str) -> inspect.Type:
    """The type that a step of an error's path leads to: a table's field; a list's element without ``name``.

    An element that has no description of its own keeps the one of its list.
    """
    bare = _bare(kind)
    if isinstance(bare, inspect.StructType):
        return next(field.type for field in bare.fields if field.encode_name == name)
    if isinstance(bare, inspect.VarTupleType) and isinstance(_bare(bare.item_type), inspect.StructType):
        return bare.item_type
    return kind


def _bare(kind: inspect.Type) -> inspect.Type:
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _allowed(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.Metadata) and kind.extra_json_schema:
        return str(kind.extra_json_schema["description"])
    if isinstance(kind, inspect.BoolType):
        return "true or false"
    if isinstance(kind, inspect.LiteralType | inspect.EnumType):
        values = kind.values if isinstance(kind, inspect.LiteralType) else [one.value for one in kind.cls]
        *most, last = (json.dumps(value) for value in values)
        return f"{', '.join(most)} or {last}" if most else last
    if isinstance(kind, inspect.StructType):
        return "a table with the keys " + ", ".join(field.encode_name for field in kind.fields)
    return "a list of [[target]] tables"


def wrong(key: str, value: object, allowed: str) -> str:
    """The line about a value that is not allowed."""
    return f"{key}: {_shown(value)} cannot be used; allowed: {allowed}"


def target_key(number: int, name: str) -> str:
    """How errors name a target: by its name, or by its number (from 1) when it has none."""
    return f"[[target]] {_shown(name)}" if name else f"[[target]] number {number}"


def _shown(value: object) -> str:
    """A value as in TOML, on one line, shortened to 60 characters."""
    if isinstance(value, float) and not math.isfinite(value):
        text = str(value)
    else:
        text = json.dumps(value, default=str, ensure_ascii=False)
    text = one_line(text)
    return text if len(text) <= 60 else text[:57] + "..."


def one_line(text: str) -> str:
    """Text with its control characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
