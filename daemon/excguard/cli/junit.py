"""A run as JUnit XML, which build servers show as tests: one a site, failed, skipped or passed by the gate.

The form is the one that Jenkins, GitLab and GitHub's reporters read:
``testsuites/testsuite/testcase/failure``.
"""

import xml.etree.ElementTree as ET

from excguard.files.escaping import printable
from excguard.gate.verdict import SiteResult, Standing, Verdict
from excguard.knowledge.severity import Severity


def render(  # noqa: PLR0913 - what there is to tell of a run
    target: str,
    verdict: Verdict,
    *,
    seconds: float,
    lost: int,
    started: str,
    error: str | None = None,
) -> bytes:
    """The XML document.

    Args:
        target: what the program is called.
        verdict: on the sites where it broke rules; without any, one test that passed says so.
        seconds: how long it ran.
        lost: hits that belong to no site because the journal was full.
        started: when it was started, RFC 3339.
        error: why it could not be.
    """
    suite = ET.Element("testsuite", name=f"excguard: {printable(target)}", timestamp=started)
    failing = {site.id for site in verdict.failing}
    for site in verdict.sites:
        _case(suite, site, failed=site.id in failing)
    if lost:
        name = "hits that could not be told apart"
        case = ET.SubElement(suite, "testcase", classname=_class(target), name=name)
        failure = ET.SubElement(case, "failure", type="lost", message=f"{lost} more guard hits")
        failure.text = "The journal was full. Give it a greater capacity: [journal] in the configuration."
    if error is not None:
        case = ET.SubElement(suite, "testcase", classname=_class(target), name="start of the program")
        ET.SubElement(case, "error", type="start", message=printable(error))
    elif not len(suite):
        ET.SubElement(suite, "testcase", classname=_class(target), name="no guard exceptions")
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    suite.set("errors", str(int(error is not None)))
    suite.set("time", f"{seconds:.3f}")
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    document: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _case(suite: ET.Element, site: SiteResult, *, failed: bool) -> None:
    """One site. The name is the same in every run: no port name, no program counter, no process id."""
    name = f"{site.flavor} in {printable(site.place or site.executable)} [{site.id}]"
    case = ET.SubElement(suite, "testcase", classname=_class(site.target), name=name)
    severity = Severity.of(site.severity)
    lines = [
        site.summary,
        f"Fix: {site.advice}" if site.advice else "",
        f"Hits: {site.hits}. Severity: {severity}. Site: {site.id}.",
        f"excguard decode {site.code} {site.subcode}" if site.code else "",
        *site.frames,
        f"Report: {site.report}" if site.report else "",
    ]
    text = "\n".join(printable(line) for line in lines if line)
    if failed:
        failure = ET.SubElement(case, "failure", type=f"{severity} guard", message=printable(site.summary))
        failure.text = text
    elif site.standing is Standing.TOLERATED:
        ET.SubElement(case, "system-out").text = text
    else:
        ET.SubElement(case, "skipped", message=f"{site.standing}: {printable(site.summary)}")


def _class(target: str) -> str:
    # Build servers split class names at dots.
    return "excguard." + printable(target).replace(".", "_")
