"""Frames of stacks as tools print them.

    0   libsystem_kernel.dylib   0x188fc6214 mach_msg2_trap + 8            ReportCrash, PLCrashReporter
    0   libsystem_kernel.dylib   mach_msg2_trap                            the same, edited
    frame #0: 0x0000000188fc6214 libsystem_kernel.dylib`mach_msg2_trap + 8   lldb
    [  0] 0x0000000188fc6214 libsystem_kernel.dylib`mach_msg2_trap + 8       lldb's crashlog
    0  libsystem_kernel.dylib!mach_msg2_trap + 0x8                         minidump-stackwalk

Each may stand behind anything that a quotation or a log puts before its lines.
"""

from __future__ import annotations

import re

from excguard.crash_reports.report import Frame

_HEX = r"0[xX][0-9a-fA-F]{1,16}"
_LLDB = re.compile(rf"\bframe #(\d{{1,4}}): ({_HEX}) (?:([^`\n]{{1,200}})`)?(.*)")
_CRASHLOG = re.compile(rf"\[\s{{0,4}}(\d{{1,4}})\] ({_HEX})\s++(?:([^`\n]{{1,200}})`)?(.*)")
_STACKWALK = re.compile(r"(\d{1,4})\s++([^!\n]{1,200}?)(?:!(.*)|\s\+\s(0x[0-9a-fA-F]{1,16})\b.*)")
_PLAIN = re.compile(r"(\d{1,4})\s++(\S++(?: \S++){0,4}+)(?:\s{2,}+|\t)(\S.*)")
_BASE = re.compile(rf"({_HEX})\s++\+\s++(\d{{1,12}})\b")
_ADDRESS = re.compile(rf"({_HEX})(?![0-9a-zA-Z])")
_OFFSET = re.compile(r"(0x[0-9a-fA-F]{1,12}|\d{1,12})(?![0-9a-zA-Z])")
_INDEX = [re.compile(rf"(?<![\w.:+]){index}\s++(?=\S)") for index in range(32)]
_MAX_SYMBOL = 1000


def parse_frame(line: str, expected: int) -> Frame | None:
    """The frame of index `expected` that a line is, None when it is not one."""
    if match := _LLDB.search(line) or _CRASHLOG.search(line):
        if int(match[1]) != expected:
            return None
        symbol, offset = _symbol(match[4].partition(" at ")[0])
        return Frame(expected, (match[3] or "").strip(), None, int(match[2], 16), symbol, offset)
    return _reported(line, expected) or _without_address(line, expected)


def _reported(line: str, expected: int) -> Frame | None:
    """ReportCrash's form: what stands between the index and the address is the image."""
    at = line.find("0x")
    if at < 0 or "!" in line[:at]:
        return None
    index = None
    for index in _INDEX[expected].finditer(line, 0, at):  # noqa: B007 - the last one is wanted
        pass
    address = _ADDRESS.match(line, at)
    if index is None or address is None:
        return None
    image = line[index.end() : at].strip().strip("|").strip()
    if not image or image.endswith(("=", ":", "(", "+")) or len(image) > 200:
        return None
    rest = line[address.end() :].strip().strip("|").strip()
    if base := _BASE.match(rest):
        return Frame(expected, image, int(base[2]), int(address[1], 16))
    symbol, offset = _symbol(rest)
    return Frame(
        expected, image, None, int(address[1], 16), symbol.removesuffix(f"(in {image})").strip(), offset
    )


def _without_address(line: str, expected: int) -> Frame | None:
    bare = line.lstrip(" \t>|*+#-")
    if not bare[:1].isdigit():
        return None
    if "!" in bare or " + 0x" in bare:
        match = _STACKWALK.match(bare)
        if match and int(match[1]) == expected:
            if match[4]:
                return Frame(expected, match[2].strip(), int(match[4], 16))
            symbol, offset = _symbol(re.sub(r" \[[^\]]*\]?", "", match[3] or ""))
            return Frame(expected, match[2].strip(), None, None, symbol, offset)
    match = _PLAIN.match(bare)
    if match and int(match[1]) == expected and not match[2].endswith((":", "=")):
        symbol, offset = _symbol(match[3].strip().strip("|").strip())
        return Frame(expected, match[2].strip(), None, None, symbol, offset)
    return None


def _symbol(text: str) -> tuple[str, int | None]:
    """Symbol and offset of text such as "mach_msg2_trap + 8 (file.c:12)"."""
    text = text.strip()[:_MAX_SYMBOL]
    name, plus, rest = text.rpartition(" + ")
    if plus and (offset := _OFFSET.match(rest)):
        return name.strip(), int(offset[1], 0) if offset[1].startswith("0x") else int(offset[1])
    return text, None
