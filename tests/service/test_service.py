"""What the configuration says about the C core has to agree with it."""

from excguard import config
from excguard.native import lib


def test_most_targets_are_those_of_the_receiver() -> None:
    assert config.MAX_TARGETS == lib.EXCGUARD_MAX_TARGETS
