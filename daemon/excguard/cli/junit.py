"""A run as JUnit XML, which build servers show as tests: each site that broke a rule is a failed one.

The form is the one that Jenkins, GitLab and GitHub's reporters read:
``testsuites/testsuite/testcase/failure``.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from excguard.cli import summary
from excguard.decoding.violation import Violation
from excguard.knowledge.severity import Severity
from excguard.pipeline.tally import SiteTally
from excguard.sinks.console import printable


def render(  # noqa: PLR0913 - what there is to tell of a run
    target: str,
    sites: Sequence[SiteTally],
    *,
    seconds: float,
    lost: int,
    started: str,
    error: str | None = None,
) -> bytes:
    """The XML document.

    Args:
        target: what the program is called.
        sites: where it broke rules; without any, one test that passed says so.
        seconds: how long it ran.
        lost: hits that belong to no site because the journal was full.
        started: when it was started, RFC 3339.
        error: why it could not be.
    """
    suite = ET.Element("testsuite", name=f"excguard: {printable(target)}", timestamp=started)
    for tally, violation in summary.explained(sites):
        _failed(suite, tally, violation)
    if lost:
        name = "hits that could not be told apart"
        case = ET.SubElement(suite, "testcase", classname=_class(target), name=name)
        failure = ET.SubElement(case, "failure", type="lost", message=f"{lost} more guard hits")
        failure.text = "The journal was full. Give it a greater capacity: [journal] in the configuration."
    failures = len(suite)
    if error is not None:
        case = ET.SubElement(suite, "testcase", classname=_class(target), name="start of the program")
        ET.SubElement(case, "error", type="start", message=printable(error))
    elif not failures:
        ET.SubElement(suite, "testcase", classname=_class(target), name="no guard exceptions")
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(failures))
    suite.set("errors", str(int(error is not None)))
    suite.set("time", f"{seconds:.3f}")
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    document: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _failed(suite: ET.Element, tally: SiteTally, violation: Violation) -> None:
    rule = violation.flavor_name or violation.guard_type or f"flavor {violation.flavor:#x}"
    severity = Severity.of(violation.severity)
    place = f" at {tally.pc:#x}" if tally.pc else ""
    name = f"{rule}{place}, code {tally.code:#x}"
    case = ET.SubElement(suite, "testcase", classname=_class(tally.target), name=name)
    failure = ET.SubElement(case, "failure", type=f"{severity} guard", message=printable(violation.summary))
    lines = [
        violation.summary,
        f"Fix: {violation.advice}" if violation.advice else "",
        f"Hits: {tally.hits}. Severity: {severity}. {violation.release}.",
        f"excguard decode {tally.code:#x} {tally.subcode:#x}",
    ]
    failure.text = "\n".join(printable(line) for line in lines if line)


def _class(target: str) -> str:
    # Build servers split class names at dots.
    return "excguard." + printable(target).replace(".", "_")
