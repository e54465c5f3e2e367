"""`excguard decode`: numbers or text in, words out."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import click

from excguard.cli.closed_output import ends_with
from excguard.cli.violation_text import violation_lines
from excguard.decoding.code import MTE_TAG_FAULT, DecodeError, parse_numbers
from excguard.decoding.decode import decode
from excguard.files.escaping import printable
from excguard.knowledge import guards
from excguard.knowledge.releases import ReleaseError

if TYPE_CHECKING:
    from excguard.crash_reports import Report
    from excguard.decoding.violation import PartialViolation

_OPTION = r"--?[a-z][a-z-]*(=.*)?"
"""What click hands on since negative numbers begin like options: text never is such a word alone."""

_NAME = r"[A-Za-z]\w{2,60}"
"""What can be meant for a name: one word."""


@click.command("decode", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="CODE [SUBCODE] | TEXT | -")
@click.option("--os", "release", metavar="RELEASE", help="The release that the numbers come from.")
@click.option("--follow", is_flag=True, help="Read lines on standard input until it ends; write JSON lines.")
@click.option("--pass", "pass_unknown", is_flag=True, help="With --follow: also write the other lines.")
@click.option("--raw", is_flag=True, help="Read raw Mach messages as hex on standard input, one a line.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per violation, one per line.")
def command(words: tuple[str, ...], release: str | None, **options: bool) -> None:
    """Say what EXC_GUARD numbers mean: the rule that was broken, on what, and how to fix it.

    Takes one or two numbers (decimal, negative or hex), or text with a guard violation in it: a line of a
    crash report, of lldb or of the kernel's log, or a whole report. Without any, or with -, the text is read
    from standard input.

    \b
    Examples:
      excguard decode 2305845208236959491
      excguard decode 0x4000000100000000 0x08fd4dbfade2dead --os 14.4
      excguard decode "Termination Reason: GUARD 2305845208236959491"
      pbpaste | excguard decode
      log stream --style ndjson | excguard decode --follow

    --follow reads log records of JSON (ndjson, OTLP) or lines of text for as long as they come, and writes
    one JSON object per violation, with process and pid, as soon as its line is complete.

    RELEASE is a version (14.4, "macOS 14.4.1", "iOS 17.4"), a build (23E214), "Darwin 25.6.0" or
    xnu-10063.101.15. Without it the newest meaning is shown, and the others with their releases.

    \b
    Exit status:
      0    a violation was found
      1    none was found
      2    the command line is wrong
    """  # noqa: D301 - click wants the real backspace
    if options["follow"]:
        _follow(words, release, pass_unknown=options["pass_unknown"])
        return
    if options["raw"]:
        if words or release:
            raise click.UsageError("--raw reads standard input only, and no release matters to it")
        from excguard.cli.raw import read_messages  # noqa: PLC0415 - the rest works without the built extension

        read_messages(sys.stdin.buffer, as_json=options["as_json"])
        return
    try:
        violations = _find(words, release)
    except (DecodeError, ReleaseError) as error:
        raise click.UsageError(str(error)) from None
    found = any(map(_is_violation, violations))
    with ends_with(lambda: found):
        _print(violations, as_json=options["as_json"])
    if not found:
        sys.exit(1)


def _is_violation(violation: PartialViolation) -> bool:
    """Whether it is one: telemetry is not, nor a code of guard type 0, but for memory tag faults."""
    if guards.is_policy_telemetry(violation.guard_type, violation.flavor):
        return False
    return violation.guard_type_number != 0 or violation.target == MTE_TAG_FAULT or violation.code is None


def _follow(words: tuple[str, ...], release: str | None, *, pass_unknown: bool) -> None:
    if words not in {(), ("-",)}:
        raise click.UsageError("--follow reads standard input only")
    from excguard.cli.follow import follow  # noqa: PLC0415 - numbers need no reader of lines

    found = False
    with ends_with(lambda: True):
        found = follow(sys.stdin.buffer, sys.stdout.buffer, release, pass_unknown=pass_unknown)
    if not found:
        sys.exit(1)


def _find(words: tuple[str, ...], release: str | None) -> list[PartialViolation]:
    if words in {(), ("-",)}:
        return _of(_standard_input(release, asked=bool(words)))
    whole = " ".join(words)
    if numbers := parse_numbers(whole):
        return [decode(numbers[0], numbers[1] if len(numbers) > 1 else None, release)]
    if unknown := next((word for word in words if re.fullmatch(_OPTION, word)), None):
        raise click.UsageError(f"No such option '{unknown}'")
    from excguard import crash_reports  # noqa: PLC0415 - likewise
    from excguard.decoding import pages  # noqa: PLC0415 - likewise

    reports = crash_reports.documents_of_text(whole, release)
    report = reports[0]
    found = any(report.violations for report in reports)
    if not found and len(words) == 1 and os.path.isfile(whole):  # noqa: PTH113 - no pathlib to start
        raise click.UsageError(f"{whole} is a file: `excguard report` reads it")
    if not found and pages.find(whole):
        raise click.ClickException(
            f"nothing found: {whole} is a name: `excguard explain {whole}` explains it"
        )
    if not found and not report.exception_type and re.fullmatch(_NAME, whole):
        from excguard.cli.explain import no_such_guard  # noqa: PLC0415 - likewise

        raise click.ClickException(f"nothing found: {no_such_guard(whole, None)}")
    return _of(reports)


def _standard_input(release: str | None, *, asked: bool) -> list[Report]:
    from excguard import crash_reports  # noqa: PLC0415 - numbers need no reader of reports

    reports = [crash_reports.Report(error="empty")]
    if asked or not sys.stdin.isatty():
        reports = crash_reports.read_documents(sys.stdin.buffer, "-", release)
    if reports[0].error == "empty" and not asked:
        raise click.UsageError("give a number or two, a text, or a text on standard input")
    return reports


def _of(reports: list[Report]) -> list[PartialViolation]:
    """The violations of all; what was not read of the text goes to standard error."""
    found = [violation for report in reports for violation in report.violations]
    if not found:
        why = reports[0].error or "; ".join(reports[0].notes) or "no guard violation found in it"
        raise click.ClickException(f"nothing found: {why}")
    for report in reports:
        if report.error:
            click.echo(printable(f"excguard: {report.error}"), err=True)
    return found


def _print(violations: list[PartialViolation], *, as_json: bool) -> None:
    if as_json:
        import msgspec  # noqa: PLC0415 - takes as long as all else that a text needs

        for violation in violations:
            click.echo(msgspec.json.encode(violation.to_dict()).decode())
        return
    counted: dict[tuple[object, ...], tuple[PartialViolation, int]] = {}
    for violation in violations:
        key = (violation.code, violation.subcode, violation.summary, violation.release)
        counted[key] = (violation, counted[key][1] + 1 if key in counted else 1)
    for index, (violation, count) in enumerate(counted.values()):
        if index:
            click.echo()
        if count > 1:
            click.echo(f"{count} times:")
        for line in violation_lines(violation):
            click.echo(line)
