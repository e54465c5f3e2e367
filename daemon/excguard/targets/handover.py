"""Programs that have launchd start another one: what that one does is not seen, since it is not their child.

A program that launchd starts inherits launchd's exception ports and environment, not those of whoever asked.
"""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

_APP: Final = "start the app's own program instead: APP.app/Contents/MacOS/NAME"
_TESTS: Final = (
    "start the test host's or the runner's own program instead, or name it in processes of [unified_log] and "
    "[crash_reports]"
)
_JOB: Final = (
    "watch the job's program as a target of `serve`, or name it in processes of [unified_log] and "
    "[crash_reports]"
)

# By name: the argument that does it ("": any), what is started by launchd, and what to do instead.
_PROGRAMS: Final = {
    "open": ("", "opened apps", _APP),
    "xcodebuild": ("test", "test processes", _TESTS),
    "simctl": ("launch", "apps in a simulator", _TESTS),
    "launchctl": ("", "jobs", _JOB),
    "osascript": ("", "apps that a script activates", _APP),
}
# Programs that run the one in their arguments.
_PREFIXES: Final = frozenset({"xcrun", "env", "nice", "nohup", "time", "caffeinate"})


def handed_over(command: Sequence[str]) -> str:
    """What a command has launchd start, and what to do instead; empty when it is not known to do so."""
    words = list(command)
    while len(words) > 1 and PurePath(words[0]).name in _PREFIXES:
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    found = _PROGRAMS.get(PurePath(words[0]).name) if words else None
    if found is None:
        return ""
    argument, started, advice = found
    if argument and not any(word.startswith(argument) for word in words[1:]):
        return ""
    return f"{PurePath(words[0]).name} has launchd start {started}, whose hits are not seen; {advice}"
