"""Commands that have launchd start another program are distinguished from the other ones."""

import pytest

from excguard.targets.handover import handed_over


@pytest.mark.parametrize(
    ("command", "start"),
    [
        (["open", "-W", "My.app"], "open has launchd start opened apps"),
        (["/usr/bin/open", "My.app"], "open has launchd start"),
        (["xcodebuild", "test", "-scheme", "My"], "xcodebuild has launchd start test processes"),
        (["xcodebuild", "test-without-building"], "xcodebuild has launchd start test processes"),
        (["xcrun", "simctl", "launch", "booted", "com.example.my"], "simctl has launchd start apps"),
        (["env", "A=1", "open", "My.app"], "open has launchd start"),
        (["xcodebuild", "build"], ""),
        (["./app", "open"], ""),
        (["env"], ""),
        ([], ""),
    ],
)
def test_what_launchd_starts(command: list[str], start: str) -> None:
    found = handed_over(command)

    assert found.startswith(start)
    assert bool(found) == bool(start)
