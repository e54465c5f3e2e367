"""A target is removed while its last send right goes: no message of that counts as one to an unknown port."""

from pathlib import Path

from excguard.config import Reply
from excguard.mach.exception_ports import construct_exception_port
from excguard.mach.host import Host
from excguard.mach.ports import PortSet
from excguard.pipeline.journal import Journal
from excguard.pipeline.receiver import Receiver

ROUNDS = 400


def test_notifications_of_removed_targets_are_not_rejected(host: Host, tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "journal", capacity=16, release=260400) as journal,
        PortSet.allocate() as port_set,
        Receiver(journal, port_set.name) as receiver,
    ):
        for _ in range(ROUNDS):
            port = construct_exception_port(host)
            port.move_to(port_set)
            receiver.add_target(port.name, 1, Reply.FORWARD)
            port.make_send().close()  # its no-senders notification is under way
            receiver.remove_target(1)
            port.close()

        assert journal.rejected()["unknown_port"] == 0
