"""Reads every constant, layout and prototype out of C headers, and asserts them at compile time.

Nothing is listed by hand: the names come from clang's own reading of the headers (its syntax tree and its
macro table), the values from the compiler. So a header cannot gain a name that is left unchecked.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lief

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

SAMPLES = (("1", "0x13", "0x12", "3"), ("5", "0x15", "4", "1"))
WIDE_SAMPLE = ("0x2a5b6c7d8e9fa0b1ULL", "0x13", "0x12", "3")
"""Arguments that function-like macros are tried with; the wide one those that take a number apart."""

RENAMED = "excsim_"
"""Prefix of the simulator's functions that its headers rename by macros, where libc has Apple's names."""


@dataclass(frozen=True)
class Fact:
    """Something a header says: a C expression and what it is worth."""

    name: str
    """What it is about, "mach_msg_header_t.msgh_id offset"."""
    expression: str
    """An integer constant expression."""
    header: str
    """Where it is declared, relative to its include directory."""


def bit_field_object(record: str, field: str) -> tuple[str, str]:
    """Name and definition of an object in which only this bit-field is set: it has no address to compare."""
    name = f"bits_{record}_{field}".replace("struct ", "").replace("union ", "")
    return name, f"extern const {record} {name}; const {record} {name} = {{.{field} = -1}};\n"


def _compile(command: Sequence[str | Path], source: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "facts.c"
        path.write_text(source)
        return subprocess.run(
            [*map(str, command), "-c", str(path), "-o", str(Path(scratch) / "facts.o")],
            capture_output=True,
            text=True,
            check=False,
        )


def failing_lines(command: Sequence[str | Path], source: str) -> dict[int, str]:
    """Compiles `source` with clang; returns {line number: first error there}, empty when it compiles."""
    done = _compile([*command, "-ferror-limit=0", "-Wno-everything"], source)
    errors: dict[int, str] = {}
    for line, message in re.findall(r"facts\.c:(\d+):\d+: (?:fatal )?error: (.*)", done.stderr):
        errors.setdefault(int(line), message)
    if done.returncode != 0 and not errors:
        raise AssertionError(done.stderr)
    return errors


def object_bytes(command: Sequence[str | Path], source: str) -> dict[str, bytes]:
    """Compiles definitions of constant objects and reads their bytes from the object file, ELF or Mach-O."""
    with tempfile.TemporaryDirectory() as scratch:
        path, compiled = Path(scratch) / "objects.c", Path(scratch) / "objects.o"
        path.write_text(source)
        subprocess.run([*map(str, command), "-w", "-c", str(path), "-o", str(compiled)], check=True)
        parsed = lief.parse(str(compiled))
    symbols: list[tuple[str, int, bytes]] = []
    for symbol in parsed.symbols:
        if isinstance(parsed, lief.MachO.Binary):
            if symbol.category == lief.MachO.Symbol.CATEGORY.EXTERNAL:
                section = parsed.sections[symbol.numberof_sections - 1]
                offset = symbol.value - section.virtual_address
                symbols.append((symbol.name.removeprefix("_"), offset, bytes(section.content)))
        elif symbol.section is not None and symbol.type == lief.ELF.Symbol.TYPE.OBJECT:
            symbols.append((symbol.name, symbol.value, bytes(symbol.section.content)))
    found: dict[str, bytes] = {}
    for name, offset, content in symbols:
        end = min((o for _, o, c in symbols if c == content and o > offset), default=len(content))
        found[name] = content[offset:end]
    return found


class Headers:
    """The headers of some directories, as a compiler sees them.

    `names` are those to read, each relative to one of `directories`; only what is declared in a file of these
    directories counts. `clang` is a command without -c.
    """

    def __init__(
        self, directories: Sequence[Path], names: Sequence[str], clang: Sequence[str | Path]
    ) -> None:
        """Reads the headers."""
        self.directories = [directory.resolve() for directory in directories]
        self.prologue = "".join(f"#include <{name}>\n" for name in names)
        self.clang = [*clang, *(f"-I{directory}" for directory in self.directories)]
        self.facts: list[Fact] = []
        self.bit_fields: dict[str, str] = {}
        """Name of an object -> its definition (bit_field_object)."""
        self.skipped: dict[str, str] = {}
        """Macros without an integer value -> their text."""
        self._read_macros()
        self._read_tree()
        self.values = self._evaluate()

    def _evaluate(self) -> list[int]:
        rows = "".join(f"    (long long)({fact.expression}),\n" for fact in self.facts)
        source = f"{self.prologue}extern const long long values[]; const long long values[] = {{\n{rows}}};\n"
        content = object_bytes(self.clang, source)["values"]
        return [int.from_bytes(content[i : i + 8], "little", signed=True) for i in range(0, len(content), 8)]

    def _owner(self, file: str) -> str | None:
        """The header's name relative to its directory, or None when the file is not one of ours."""
        path = Path(file).resolve()
        for directory in self.directories:
            if path.is_relative_to(directory):
                return str(path.relative_to(directory))
        return None

    def _add(self, name: str, expression: str, header: str) -> None:
        self.facts.append(Fact(name, expression, header))

    # -- declarations

    def _read_tree(self) -> None:
        done = _compile([*self.clang, "-Xclang", "-ast-dump=json"], self.prologue)
        tree = json.loads(done.stdout)
        typedef_of = _names_of_anonymous_records(tree["inner"])
        for node, file in _with_files(tree["inner"]):
            header = self._owner(file)
            if header is None or node.get("isImplicit"):
                continue
            if node["kind"] == "RecordDecl":
                if node.get("completeDefinition"):
                    name = node.get("name")
                    owner = f"{node['tagUsed']} {name}" if name else typedef_of[node["id"]]
                    self._read_record(owner, node, header)
            else:
                self._read_declaration(node, header)

    def _read_declaration(self, node: dict[str, Any], header: str) -> None:
        name = node.get("name", "")
        match node["kind"]:
            case "TypedefDecl":
                self._add(f"{name} size", f"sizeof({name})", header)
                if _is_integer(node):
                    self._add(f"{name} sign", f"({name})-1 < ({name})0", header)
            case "EnumDecl":
                for constant in node.get("inner", []):
                    if constant["kind"] == "EnumConstantDecl":
                        self._add(constant["name"], constant["name"], header)
            case "FunctionDecl" if node.get("storageClass") != "static":
                if self.skipped.get(name.removeprefix(RENAMED)) == name:
                    name = name.removeprefix(RENAMED)
                expression = _same_type(f"&{name}", _pointer_to(node["type"]["qualType"]))
                self._add(f"{name}()", expression, header)
            case "VarDecl":
                expression = _same_type(f"&{name}", f"__typeof__({node['type']['qualType']}) *")
                self._add(f"{name} type", expression, header)
            case _:
                pass

    def _read_record(self, owner: str, node: dict[str, Any], header: str) -> None:
        self._add(f"{owner} size", f"sizeof({owner})", header)
        for field in node["inner"]:
            if field["kind"] not in {"FieldDecl", "IndirectFieldDecl"} or "name" not in field:
                continue
            name = field["name"]
            if field.get("isBitfield"):
                symbol, definition = bit_field_object(owner, name)
                self.bit_fields[symbol] = definition
            else:
                self._add(f"{owner}.{name} offset", f"__builtin_offsetof({owner}, {name})", header)
                if not re.search(r"\[0?\]$", field.get("type", {}).get("qualType", "")):  # a flexible array
                    self._add(f"{owner}.{name} size", f"sizeof((({owner} *)0)->{name})", header)

    # -- macros

    def _read_macros(self) -> None:
        text = subprocess.run(
            [*map(str, self.clang), "-E", "-dD", "-x", "c", "-"],
            input=self.prologue,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        candidates: list[Fact] = []
        bodies: dict[str, str] = {}
        header: str | None = None
        for line in text.splitlines():
            if marker := re.match(r'# \d+ "(.*)"', line):
                header = self._owner(marker[1])
            elif header and (macro := re.match(r"#define (\w+)(\(([^)]*)\))?(?: (.*))?$", line)):
                name, parameters, body = macro[1], macro[3], macro[4] or ""
                if not body or body == name:
                    continue  # an include guard, or a macro that says the name is there
                bodies[name] = body
                if parameters is None:
                    candidates.append(Fact(name, name, header))
                    continue
                count = len([p for p in parameters.split(",") if p.strip()])
                for sample in (*SAMPLES, *((WIDE_SAMPLE,) if ">>" in body else ())) if count else SAMPLES[:1]:
                    call = f"{name}({', '.join(sample[:count])})"
                    candidates.append(Fact(call, call, header))
        source = self.prologue + "".join(
            f'_Static_assert(((long long)({fact.expression})) * 0 == 0, "");\n' for fact in candidates
        )
        first = self.prologue.count("\n") + 1
        bad = failing_lines(self.clang, source)
        for number, fact in enumerate(candidates, first):
            if number in bad:
                continue
            self.facts.append(fact)
            bodies.pop(fact.name.partition("(")[0], None)
        self.skipped = bodies

    # -- assertions

    def assertions(self, without: Iterable[str] = ()) -> tuple[str, list[Fact]]:
        """C text that asserts each fact on a line of its own, and the facts in that order."""
        left_out = set(without)
        facts, lines = [], []
        for fact, value in zip(self.facts, self.values, strict=True):
            if fact.name not in left_out:
                facts.append(fact)
                literal = f"{value}LL" if value != -(2**63) else "(-9223372036854775807LL - 1)"
                lines.append(f'_Static_assert((long long)({fact.expression}) == {literal}, "{fact.name}");\n')
        return "".join(lines), facts


def _with_files(nodes: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    """Each top-level declaration with its file: clang names a file only where it changes."""
    file = ""
    for node in nodes:
        location = node.get("loc", {})
        for place in (location, location.get("spellingLoc", {}), location.get("expansionLoc", {})):
            file = place.get("file", file)
        yield node, file


def _names_of_anonymous_records(nodes: list[dict[str, Any]]) -> dict[str, str]:
    """Of `typedef struct { ... } name;`: the record's node id -> name."""
    names: dict[str, str] = {}
    record = ""
    for node in nodes:
        if node["kind"] == "RecordDecl" and "name" not in node:
            record = node["id"]
        elif node["kind"] == "TypedefDecl" and record and record in json.dumps(node):
            names.setdefault(record, node["name"])
            record = ""
    return names


def _is_integer(typedef: dict[str, Any]) -> bool:
    desugared = typedef["type"].get("desugaredQualType", typedef["type"]["qualType"])
    return bool(re.fullmatch(r"(unsigned |signed )?(char|short|int|long|long long)", desugared))


def _pointer_to(function_type: str) -> str:
    """ "int (char *)" -> "int (*)(char *)"."""
    head, _, tail = function_type.partition("(")
    return f"{head}(*)({tail}"


def _same_type(expression: str, type_name: str) -> str:
    return f"__builtin_types_compatible_p(__typeof__({expression}), {type_name})"
