"""Wrappers that cover a whole text: HTML, terminal colors, line ends, typographic quotes, CSV cells.

Each is undone only where the text shows that it is there. What stands before single lines is removed by
`line_prefixes`; JSON strings are left to the splitter.
"""

from __future__ import annotations

import html
import re

from excguard.crash_reports import line_prefixes
from excguard.crash_reports.chunks import mapped

_ANSI = re.compile(rb"\x1b(?:\[[0-?]*+[ -/]*+[@-~]|\][^\x07\x1b]*+(?:\x07|\x1b\\)?)")
_TAGS = (
    rb"a|abbr|article|b|blockquote|body|br|center|code|dd|del|details|div|dl|dt|em|font|h[1-6]|head|hr|html|i"
    rb"|kbd|li|main|mark|ol|p|pre|s|samp|section|small|span|strong|sub|summary|sup|table|tbody|td|tfoot|th"
    rb"|thead|title|tr|tt|u|ul|var|wbr"
)
_TAG = re.compile(rb"<(/?)(" + _TAGS + rb")\b(?:\s[^<>]{0,2000}+)?/?>", re.IGNORECASE)
_HTML = re.compile(
    rb"<(?:br|/p|/pre|/td|/th|/li|/div|/span|/code|/html|/body|/blockquote|/b|/strong|/em|/tt|/a|/dd|/summary)\s?/?>",
    re.IGNORECASE,
)
_ENTITY = re.compile(rb"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});")
_CELLS = frozenset({b"td", b"th", b"dt", b"dd"})
_INLINE = frozenset(
    b"a abbr b code del em font i kbd mark s samp small span strong sub sup tt u var wbr".split()
)
_NOT_QUOTED_PRINTABLE = re.compile(rb"=(?![0-9A-F]{2}|\n)")
_QUOTED_BYTE = re.compile(rb"=([0-9A-F]{2})")
_CSV = re.compile(rb'\{\s*+""\w|"":\s*+(?:""\w|[0-9{\[])')

# JSON as Python shows it
_PYTHON = re.compile(rb"'(?:exception|termination|procName|bug_type)': ")
_PYTHON_STRING = re.compile(rb"(?<=[\[{:, ])'((?:[^'\"\\\n]|\\[^\n])*+)'(?=[:,\]}]|$)", re.MULTILINE)

# A report whose line ends were lost: where its stack, its images and its frames begin
_ONE_LINE = re.compile(rb"^(?=.{400})[^\n]{0,65536}?\bException Type:[^\n]{0,65536}", re.MULTILINE)
_FOLDED = re.compile(
    rb"[ \t]++(?=Thread \d{1,4}(?: [Cc]rashed)?:|Thread \d{1,4} crashed with|Binary Images:"
    rb"|\d{1,3}[ \t]{1,20}[^\s:=,]{1,60}[ \t]{1,20}0x[0-9a-f]{6,16}[ \t]"
    rb"|0x[0-9a-f]{6,16} - +0x[0-9a-f]{6,16}[ \t])"
)

# UTF-8 of no-break space, other spaces, zero-width characters, byte order mark and line ends
_CHARACTERS = (
    (b"\xc2\xa0", b" "),
    (b"\xe2\x80\xaf", b" "),
    (b"\xe2\x80\x87", b" "),
    (b"\xe3\x80\x80", b" "),
    (b"\xe2\x80\x8b", b""),
    (b"\xe2\x81\xa0", b""),
    (b"\xe2\x80\x8e", b""),
    (b"\xe2\x80\x8f", b""),
    (b"\xef\xbb\xbf", b""),
    (b"\xe2\x80\xa8", b"\n"),
    (b"\xe2\x80\xa9", b"\n"),
    (b"\xc2\x85", b"\n"),
)
_TYPOGRAPHIC = (b"\xe2\x80\x9c", b"\xe2\x80\x9d", b"\xe2\x80\x9e")


def unwrap(data: bytes) -> bytes:
    """The text (UTF-8) without what covers it; the same object when nothing does."""
    if b"\x1b" in data:
        data = mapped(data, lambda part: _ANSI.sub(b"", part))
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not data.isascii():
        data = _plain_characters(data)
    if (b"=3D" in data or b"=\n" in data) and _NOT_QUOTED_PRINTABLE.search(data) is None:
        data = mapped(data.replace(b"=\n", b""), _unquoted)
    data = _without_html(data)
    if _PYTHON.search(data):
        data = mapped(data, _as_json)
    if b'""' in data and _CSV.search(data):
        data = data.replace(b'""', b'"')
    if rb"\_" in data:  # Markdown's, also in JSON, which has no such escape
        data = data.replace(rb"\_", b"_")
    return _unfolded(line_prefixes.remove(data))


def _as_json(part: bytes) -> bytes:
    part = _PYTHON_STRING.sub(rb'"\1"', part)
    for old, new in ((b"True", b"true"), (b"False", b"false"), (b"None", b"null")):
        part = part.replace(b": " + old, b": " + new)
    return part


def _unfolded(data: bytes) -> bytes:
    if b"Crashed" not in data or b"\\n" in data:  # escaped line ends are for the splitter
        return data
    return _ONE_LINE.sub(lambda line: _FOLDED.sub(b"\n", line[0]), data)


def _plain_characters(data: bytes) -> bytes:
    for old, new in _CHARACTERS:
        if old in data:
            data = data.replace(old, new)
    if b"{" in data:
        for old in _TYPOGRAPHIC:
            data = data.replace(old, b'"')
    return data


def _unquoted(part: bytes) -> bytes:
    return _QUOTED_BYTE.sub(lambda match: bytes([int(match[1], 16)]), part)


def _without_html(data: bytes) -> bytes:
    if b"<" in data and _HTML.search(data):
        data = mapped(data, lambda part: _TAG.sub(_in_place_of, part))
    if b"&" in data and any(entity in data for entity in (b"&quot;", b"&lt;", b"&gt;", b"&#", b"&nbsp;")):
        data = mapped(data, lambda part: _ENTITY.sub(_character, part)).replace(b"\xc2\xa0", b" ")
    return data


def _in_place_of(match: re.Match[bytes]) -> bytes:
    tag = match[2].lower()
    if tag in _CELLS:
        return b" | "
    return b"" if tag in _INLINE else b"\n"


def _character(match: re.Match[bytes]) -> bytes:
    return html.unescape(match[0].decode("ascii")).encode("utf-8", "replace")
