"""A run as JUnit XML, which build servers show as tests: one a site, failed, skipped or passed by the gate.

The form is the one that Jenkins, GitLab and GitHub's reporters read:
``testsuites/testsuite/testcase/failure``. A program that was killed is an
error; severities whose hits could not be seen are skipped tests.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from excguard.cli.outcome import Outcome
from excguard.files.escaping import printable
from excguard.gate.baseline import Entry
from excguard.gate.site_result import SiteResult, Standing
from excguard.knowledge.severity import Severity
from excguard.targets.visibility import SEVERITIES, Visibility


def render(outcome: Outcome, *, started: str) -> bytes:
    """The XML document.

    Args:
        outcome: of the run.
        started: when it was started, RFC 3339.
    """
    run = outcome.run
    target = run.name
    suite = ET.Element("testsuite", name=f"excguard: {printable(target)}", timestamp=started)
    _properties(suite, outcome)
    verdict = outcome.gate.verdict
    failing = {site.id for site in verdict.failing}
    for site in verdict.sites:
        _site(suite, site, failed=site.id in failing)
    if verdict.strict:
        _stale(suite, target, verdict.stale)
    if run.lost:
        case = _case(suite, target, "hits that belong to no site")
        failure = ET.SubElement(case, "failure", type="lost", message=f"{run.lost} more guard hits")
        failure.text = "The journal was full. Give it a greater capacity: [journal] in the configuration."
    if run.error is not None:
        case = _case(suite, target, "start of the program")
        ET.SubElement(case, "error", type="start", message=printable(run.error))
    elif run.death is not None:
        case = _case(suite, target, "end of the program")
        ET.SubElement(case, "error", type="end", message=f"{printable(target)} was {run.death}")
    if run.visibility is not None:
        _unseen(suite, target, run.visibility)
    if run.error is None and not run.total:
        unseen = run.visibility.unseen if run.visibility else []
        seen = [severity.value for severity in SEVERITIES if severity not in unseen]
        if seen:
            severities = f"{' or '.join(seen)} " if unseen else ""
            _case(suite, target, f"no {severities}guard exceptions")
    suite.set("tests", str(len(suite.findall("testcase"))))
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{kind}"))))
    suite.set("time", f"{run.seconds:.3f}")
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    document: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _properties(suite: ET.Element, outcome: Outcome) -> None:
    exited, seen = outcome.run.exited, outcome.run.visibility
    found: dict[str, object] = {"exit_status": outcome.status}
    if exited is not None:
        found |= {"program_status": exited.status, "program_signal": exited.signal}
    if seen is not None:
        found |= {f"visibility.{severity}": seen.of(severity).by for severity in SEVERITIES}
    properties = ET.SubElement(suite, "properties")
    for name, value in found.items():
        if value is not None:
            ET.SubElement(properties, "property", name=name, value=str(value))


def _site(suite: ET.Element, site: SiteResult, *, failed: bool) -> None:
    """One site. The name is the same in every run: no port name, no program counter, no process id.

    Nor an offset in a function, which can be another one in the next build while the site stays the same.
    """
    place = f"{site.image} {site.symbol}".strip() if site.symbol else site.place or site.executable
    name = f"{site.flavor} in {printable(place)} [{site.id}]"
    case = _case(suite, site.target, name)
    severity = Severity.of(site.severity)
    lines = [
        site.summary,
        f"Fix: {site.advice}" if site.advice else "",
        f"In {site.place}." if site.place else "",
        f"Hits: {site.hits}. Severity: {severity}. Site: {site.id}.",
        site.note if failed else "",
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
        because = f" ({printable(site.reason)})" if site.reason else ""
        message = f"{site.standing}{because}: {printable(site.summary)}"
        ET.SubElement(case, "skipped", message=message).text = text


def _unseen(suite: ET.Element, target: str, visibility: Visibility) -> None:
    """Severities whose hits could not be seen."""
    for severity in visibility.unseen:
        reason = visibility.of(severity).reason
        case = _case(suite, target, f"{severity} guard exceptions")
        ET.SubElement(case, "skipped", message=f"could not be seen: {printable(reason)}")


def _stale(suite: ET.Element, target: str, entries: Iterable[Entry]) -> None:
    """Entries of the baseline that fail the run since they no longer occur."""
    for entry in entries:
        place = f" in {printable(entry.place)}" if entry.place else ""
        name = f"{printable(entry.flavor or 'site')}{place} no longer occurs [{entry.id}]"
        message = "This entry of the baseline no longer occurs (--baseline-strict). Remove it."
        ET.SubElement(_case(suite, target, name), "failure", type="stale entry", message=message)


def _case(suite: ET.Element, target: str, name: str) -> ET.Element:
    # Build servers split class names at dots.
    classname = "excguard." + printable(target).replace(".", "_")
    return ET.SubElement(suite, "testcase", classname=classname, name=name)
