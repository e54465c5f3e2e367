"""The version of the app that a program belongs to, from its bundle's Info.plist.

https://developer.apple.com/documentation/bundleresources/information-property-list
"""

from pathlib import Path
from typing import Final, NamedTuple

from excguard.files import bounded

_MAX_BYTES: Final = 1 << 20
_MAX_TEXT: Final = 64


class BundleVersion(NamedTuple):
    """Both are "" where they are not known."""

    version: str = ""  # CFBundleShortVersionString: "16.0"
    build: str = ""  # CFBundleVersion: "3826.200.121"


def bundle_version(program: Path) -> BundleVersion:
    """The version of the app of a program: ``X.app/Contents/MacOS/X`` has ``X.app/Contents/Info.plist``.

    A file that is missing or unusable counts as no bundle: the version is for people, and nothing depends on
    it.
    """
    contents = program.parent.parent
    if (program.parent.name, contents.name) != ("MacOS", "Contents"):
        return BundleVersion()
    import plistlib  # noqa: PLC0415 - with an XML parser; most programs are not in a bundle

    try:
        found = plistlib.loads(bounded.read(contents / "Info.plist", _MAX_BYTES))
    except Exception:  # noqa: BLE001 - parsers of files of others; nothing depends on the result
        return BundleVersion()
    if not isinstance(found, dict):
        return BundleVersion()
    texts = (found.get(key) for key in ("CFBundleShortVersionString", "CFBundleVersion"))
    return BundleVersion(*(text[:_MAX_TEXT] if isinstance(text, str) else "" for text in texts))
