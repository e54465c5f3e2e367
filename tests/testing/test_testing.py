"""The public fakes: what they make is what the daemon makes, and what their page shows is so."""

import doctest

import pytest

from excguard import testing
from excguard.config import Config
from excguard.decoding.code import join
from excguard.decoding.decode import decode
from excguard.pipeline.sink_worker import SinkWorker
from excguard.testing import FakeReporter, FakeSink, FakeSource, simulated_hit
from tests.support import ROOT
from tests.support.samples import DESTROY, INVALID_NAME


def test_examples_of_the_page_and_the_module_run() -> None:
    page = doctest.testfile(str(ROOT / "docs" / "testing.md"), module_relative=False)
    module = doctest.testmod(testing)

    assert (page.failed, module.failed) == (0, 0)
    assert page.attempted > 5
    assert module.attempted > 2


@pytest.mark.parametrize(
    ("guard", "code"),
    [
        (INVALID_NAME, INVALID_NAME),
        ("INVALID_NAME", INVALID_NAME),
        ("kGUARD_EXC_DESTROY", DESTROY),
        ("mach-port invalid name", INVALID_NAME),
        ("FD CLOSE", join(2, 1, 0x2703)),
        ("ILLEGAL_MOVE", join(1, 0x20, 0x2703)),  # ReportCrash's name of IMMOVABLE
    ],
)
def test_a_guard_has_the_code_that_the_kernel_would_send(guard: str | int, code: int) -> None:
    hit = simulated_hit(guard, 5)

    assert hit.violation.code == code
    assert hit.violation == decode(code, 5, "macOS 26.4")


def test_a_name_is_looked_up_on_the_release() -> None:
    then, now = simulated_hit("SEND_INVALID_RIGHT", release="10.14.6"), simulated_hit("SEND_INVALID_RIGHT")

    assert [hit.violation.flavor for hit in (then, now)] == [0x20000, 0x40000]
    assert then.release == "10.14.6"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"guard": "INVALID_NAMES"}, r"^invalid guard flavor: 'INVALID_NAMES' .* similar: INVALID_NAME"),
        ({"guard": "zzz"}, r"^invalid guard flavor: 'zzz' does not exist on macOS 26.4$"),
        ({"guard": "MACH_EXC_THREAD_SET_STATE", "release": "15.5"}, "does not exist on 15.5"),
        ({"guard": INVALID_NAME, "release": "fifteen"}, "fifteen"),
        ({"guard": 1 << 64}, "64"),
    ],
)
def test_what_cannot_be_made_is_an_error(arguments: dict[str, str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        simulated_hit(**arguments)


def test_fields_are_those_of_a_hit() -> None:
    assert simulated_hit(seq=7, recovered=True, pc=1).recovered
    with pytest.raises(TypeError):
        simulated_hit(color="red")


def test_a_sink_writes_all_that_it_is_given_through_the_thread_that_feeds_it() -> None:
    sink = FakeSink("mine")
    worker = SinkWorker(sink, on_progress=lambda: None)
    hit = simulated_hit()
    worker.hit(hit)
    worker.event("info", "target_started", {"pid": 1})
    worker.stop()

    assert worker.join(60)
    assert (sink.hits, sink.events) == ([hit], [("target_started", {"pid": 1})])
    assert sink.closed
    assert worker.failures == 0


def test_what_a_killed_sink_had_not_written_is_lost() -> None:
    sink = FakeSink()
    sink.hit(simulated_hit())
    sink.forget()

    assert sink.flush()
    assert sink.hits == []


def test_a_source_follows_the_protocol_of_sources() -> None:
    source = FakeSource([])

    assert source.enabled(Config())
    assert source.processes(Config()) == ("*",)
    assert source.revision(Config()) == source.revision(Config())


def test_a_reporter_keeps_failures_and_events() -> None:
    report = FakeReporter()
    report.failure("garbled", "line 7")
    report.event("warning", "source_failed", error="x")

    assert report.failures == [("garbled", "line 7")]
    assert report.events == [("source_failed", {"error": "x"})]
