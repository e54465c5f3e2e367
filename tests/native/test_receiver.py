"""The receiver on the simulated kernel: what it answers, counts, releases and withstands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from excguard.decoding.decode import join
from excguard.native import lib
from tests.support import corpus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SETTLED = {"unknown_id": 1}  # what the message that a task ends with leaves (receiver_tasks.Watch.settle)


class TestHits:
    def test_without_state(self, task: Callable[..., Any]) -> None:
        seen = task("own_hit", 4, 0)

        assert seen["results"] == [15, 15]  # KERN_INVALID_NAME: the call went on as usual
        assert [record["seq"] for record in seen["records"]] == [0, 1]
        for record in seen["records"]:
            assert record["code"] == join(1, 0x200, 0xABCD03)
            assert record["pid"] == seen["pid"]
            assert (record["target_id"], record["behavior"], record["reply"]) == (7, 4, 5)
            assert record["flags"] == lib.EXCGUARD_RECORD_KNOWN
            assert record["severity"] == lib.EXCGUARD_SEVERITY_OPTIONAL
        assert seen["rejected"] == SETTLED
        assert seen["replies"] == 2
        assert seen["same"]

    def test_with_state(self, task: Callable[..., Any]) -> None:
        seen = task("own_hit", 5, 4, arch="x86_64")

        for record in seen["records"]:
            assert (record["behavior"], record["reply"]) == (5, 5)
            assert (record["state_flavor"], record["state_count"]) == (4, 42)
            assert record["pc"]
            assert record["sp"]
            wanted = lib.EXCGUARD_RECORD_STATE | lib.EXCGUARD_RECORD_REGISTERS
            assert record["flags"] == lib.EXCGUARD_RECORD_KNOWN | wanted
        assert seen["same"]

    @pytest.mark.parametrize(
        ("policy", "behavior", "own_answer"),
        [
            ("consume", 4, lib.KERN_SUCCESS),
            ("forward", 4, lib.KERN_FAILURE),
            ("consume", 5, lib.KERN_FAILURE),
        ],
    )
    def test_success_is_for_the_targets_own_process_alone(
        self, task: Callable[..., Any], raiser: Path, policy: str, behavior: int, own_answer: int
    ) -> None:
        number = lib.EXCGUARD_REPLY_CONSUME if policy == "consume" else lib.EXCGUARD_REPLY_FORWARD
        seen = task("policies", str(raiser), number, behavior, 4 if behavior == 5 else 0, arch="x86_64")

        own, inherited = seen["records"]
        assert (seen["own"], own["reply"]) == (own_answer, own_answer)
        assert (seen["inherited"], inherited["reply"]) == (lib.KERN_FAILURE, lib.KERN_FAILURE)
        assert own["pid"] == seen["pid"] != inherited["pid"]
        assert not own["flags"] & lib.EXCGUARD_RECORD_INHERITED
        assert inherited["flags"] & lib.EXCGUARD_RECORD_INHERITED

    def test_of_a_process_that_died_waiting(self, task: Callable[..., Any], raiser: Path) -> None:
        seen = task("a_dead_sender", str(raiser))

        (record,) = seen["records"]
        assert record["flags"] & lib.EXCGUARD_RECORD_PID_UNKNOWN
        assert record["pid"] == 0
        assert seen["same"]


class TestRefusals:
    def test_of_insecure_behaviors_that_the_program_registered(
        self, task: Callable[..., Any], raiser: Path
    ) -> None:
        seen = task("insecure_kernel", str(raiser), [1, 2, 3], 4, arch="x86_64")

        assert seen["answers"] == [lib.KERN_FAILURE] * 3
        assert seen["rejected"] == {"insecure_behavior": 9, **SETTLED}
        assert seen["hits"] == []
        assert seen["same"]

    def test_of_other_exceptions(self, task: Callable[..., Any], raiser: Path) -> None:
        seen = task("not_a_guard", str(raiser))

        assert seen["status"] < 0  # the kernel went on and killed it
        assert seen["rejected"] == {"not_guard": 1, **SETTLED}
        assert seen["same"]

    def test_of_everything_that_a_user_sends(self, task: Callable[..., Any]) -> None:
        seen = task("user_messages")

        for message in corpus.golden():
            insecure = message["msgh_id"] in (2405, 2406, 2407)
            reason = "insecure_behavior" if insecure else "sender_not_kernel"
            # Answered with a failure, by a reply of MIG's form.
            assert seen["seen"][str(message["n"])] == [reason, lib.KERN_FAILURE, 100, 36]
        for name in set(corpus.NOTIFICATION_IDS) - {"port_destroyed"}:
            assert seen["seen"][name] == ["sender_not_kernel"]
        # A user's message cannot bring a receive right in the kernel's way of writing it here.
        assert seen["seen"]["port_destroyed"] == ["descriptor_disposition"]
        assert seen["hits"] == []
        assert seen["no_senders"] == 0
        assert seen["same"]

    def test_of_messages_of_any_content(self, task: Callable[..., Any]) -> None:
        seen = task("odd_messages")

        assert seen["sent"] > 1500
        assert seen["rejected"] == seen["sent"] + 2
        assert seen["unknown_port"] > 300
        assert (seen["hits"], seen["running"], seen["same"]) == (0, 1, True)

    def test_of_a_message_that_does_not_fit(self, task: Callable[..., Any]) -> None:
        seen = task("too_large")

        assert seen["rejected"] == {"too_large": 5, **SETTLED}
        assert seen["running"] == 1
        assert seen["same"]

    def test_never_wait_for_the_senders_queue(self, task: Callable[..., Any]) -> None:
        seen = task("a_reply_port_that_is_full")

        assert seen["filled"] > 0
        assert seen["failures"] == 1
        assert (seen["answered"], seen["hits"]) == (15, 1)
        assert seen["same"]


class TestNotifications:
    def test_no_senders(self, task: Callable[..., Any]) -> None:
        seen = task("no_senders")

        assert seen["seen"] == [0, 1, 2]
        assert seen["woken"] == [True, True]
        assert seen["refusals"] == [13, 15]  # KERN_NAME_EXISTS, KERN_INVALID_NAME
        assert seen["rejected"] == {}
        assert seen["same"]

    def test_the_pipe_gets_one_byte_each_time_it_is_armed(self, task: Callable[..., Any]) -> None:
        seen = task("the_wakeup_pipe")

        assert not seen["unarmed"]
        assert not seen["early"]
        assert seen["armed"]
        assert not seen["again"]
        assert seen["wakeups"] == 1
        assert not seen["refused"]


class TestLife:
    def test_leaves_nothing_behind(self, task: Callable[..., Any]) -> None:
        assert task("stops") == {"same": True, "threads": 1}

    def test_ends_when_its_ports_go(self, task: Callable[..., Any]) -> None:
        assert task("loses_its_ports") == {"woken": True, "again": True, "running": 0, "error": True}

    def test_targets(self, task: Callable[..., Any]) -> None:
        seen = task("targets")

        # KERN_INVALID_ARGUMENT 4, KERN_NAME_EXISTS 13, KERN_INVALID_NAME 15, KERN_NO_SPACE 3
        assert seen["refusals"] == [4, 4, 4, 4, 13, 13, 15, 15]
        assert seen["fits"]
        assert seen["full"] == 3
        assert seen["removed"]
        assert seen["again"]
        assert seen["hits"] == [7, 8]
        assert seen["rejected"] == {"unknown_port": 1}

    def test_what_arrives_while_a_target_is_removed_is_not_refused_as_unknown(
        self, task: Callable[..., Any]
    ) -> None:
        """As a descendant's hits do, or a forger's messages, when a reload removes the target."""
        seen = task("removal")

        assert seen["before"] == {"unknown_id": 2}
        assert seen["answered"]
        assert seen["after"] == {"unknown_id": 3}
        assert seen["gone"] == 15  # KERN_INVALID_NAME


class TestLoad:
    def test_answers_while_python_stands_still(self, task: Callable[..., Any], raiser: Path) -> None:
        seen = task("python_stalled", str(raiser))

        assert seen == {"ended": True, "during": 200, "hits": 200}

    @pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
    def test_names_and_memory_stay_as_they_were(
        self, task: Callable[..., Any], raiser: Path, count: int
    ) -> None:
        seen = task("many", str(raiser), count, timeout=300)

        assert seen["hits"] == count
        assert (seen["records"], seen["lost"]) == (4096, count - 4096)
        assert seen["replies"] == count + 2000
        assert seen["same"]
        assert seen["growth_kib"] < 256
