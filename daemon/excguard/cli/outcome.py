"""How a run went: its exit status, and the forms in which that is reported."""

import signal
import time
from typing import Any, Final

import msgspec

from excguard.cli import gating, service_runner, summary
from excguard.cli.one_run import Run
from excguard.cli.service_runner import report_error
from excguard.files.escaping import printable, utf8
from excguard.gate import github
from excguard.knowledge.record import Record
from excguard.knowledge.severity import Severity
from excguard.pipeline.hit import rfc3339
from excguard.process.terminal_output import terminal_width, wants_color
from excguard.targets.program import Program
from excguard.targets.visibility import SEVERITIES, Visibility

FAIL_ON_MET: Final = 3
NOT_VISIBLE: Final = 4

_STDERR: Final = 2


class Outcome(Record):
    """A run that is over, and what was demanded of it.

    Attributes:
        run: the run.
        gate: the verdict on its sites.
        fail_on: the severity from which on a hit is a failure, or "never".
        updates: whether the run writes the baseline, and so accepts what it finds.
        require_visible: the severity from which on hits must have been visible; None: none.
    """

    run: Run
    gate: gating.Outcome
    fail_on: str
    updates: bool = False
    require_visible: str | None = None

    @property
    def failed(self) -> bool:
        """Whether ``--fail-on`` was met."""
        return self.run.error is None and self.gate.failed and not self.updates

    @property
    def blind(self) -> bool:
        """Whether ``--require-visible`` was not met."""
        if self.require_visible is None or self.run.error is not None:
            return False
        seen = self.run.visibility
        return seen is None or not seen.sees(Severity(self.require_visible))

    @property
    def status(self) -> int:
        """The exit status."""
        if self.failed:
            return FAIL_ON_MET
        return NOT_VISIBLE if self.blind else self.run.status

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the last line of ``--json``, and the file of ``--report``."""
        run, exited = self.run, self.run.exited
        target = run.config.target[0]
        plan = run.program.plan if run.program else None
        return {
            "timestamp": rfc3339(time.time_ns()),
            "level": "info",
            "event": "run_summary",
            "target": target.name,
            "command": [utf8(part) for part in target.command],
            "exit_status": self.status,
            "error": run.error,
            "program_status": exited.status if exited else None,
            "program_signal": exited.signal if exited else None,
            "timed_out": run.timed_out,
            "seconds": round(exited.seconds, 3) if exited else None,
            "fail_on": self.fail_on,
            "require_visible": self.require_visible,
            "delivery": plan.delivery.value if plan else None,
            "delivery_children": plan.children if plan else None,
            "visibility": run.visibility.fields() if run.visibility else None,
            "descendants": run.program.descendants if run.program else 0,
            "descendants_unnoticed_below": round(run.program.unnoticed_below, 1) if run.program else 0.0,
            "descendants_unseen": run.unseen,
            "descendants_left": exited.left if exited else 0,
            "descendants_detached": run.detached,
            "hits": run.total,
            "records_lost": run.lost,
            "sites": summary.site_objects(run.sites),
            "gate": self.gate.to_dict(),
            **({"collected": run.collection.to_dict()} if run.collection else {}),
        }

    def page(self) -> str:
        """The run as a page in GitHub's Markdown."""
        return github.summary(self.run.name, self.gate.verdict, blind=self.unseen)

    @property
    def unseen(self) -> list[str]:
        """A sentence for each reason why hits could not be seen."""
        return unseen(self.run.visibility) if self.run.visibility is not None else []

    def report(self, *, as_json: bool) -> None:
        """Close the run on standard error: a table and sentences, or one JSON object."""
        if as_json:
            service_runner.write_stderr(f"{msgspec.json.encode(self.to_dict()).decode()}\n")
            return
        run = self.run
        if run.error is not None:
            report_error(run.error)
            return
        name = printable(run.name)
        if run.total:
            title = f"excguard: {run.total} guard hit{'s' * (run.total != 1)} in {name}"
            verdict = self.gate.verdict
            accepted = [site for site in verdict.sites if site not in verdict.failing]
            table = summary.table(
                title,
                run.sites,
                width=terminal_width(_STDERR),
                color=wants_color(_STDERR),
                notes={site.id: site.note for site in accepted},
            )
            service_runner.write_stderr(table)
            if run.lost:
                report_error(f"{run.lost} more hits belong to no site: the journal was full.")
        else:
            report_error(_none_seen(name, run.visibility))
        for sentence in self._sentences(name):
            report_error(sentence)

    def _sentences(self, name: str) -> list[str]:
        run = self.run
        found = []
        if run.timed_out:
            found.append(f"{name} was {run.death}.")
        elif run.exited and run.exited.signal == signal.SIGKILL and not run.total:
            found.append(f"{name} was {run.death}; `excguard doctor` says which guards cannot be seen here.")
        if run.visibility is not None:
            found += unseen(run.visibility)
        if run.program is not None:
            found += _descendants(name, run.program)
        if run.exited is not None and run.exited.left and not run.config.target[0].wait_all:
            many = run.exited.left
            verb = "were" if many != 1 else "was"
            found.append(
                f"{many} process{'es' * (many != 1)} that {name} started {verb} still running at its exit, "
                f"and {verb} ended (--wait-all waits for them)."
            )
        if run.detached:
            found.append(
                f"Processes that {name} started outside of its process group still run; their hits are no "
                "longer seen (--wait-all waits for them)."
            )
        if run.collection is not None:
            found += map(printable, run.collection.sentences())
        return [*found, *self._demands()]

    def _demands(self) -> list[str]:
        """Which demand was not met."""
        if self.failed:
            verdict = self.gate.verdict
            failing = bool(verdict.failing) or self.gate.lost > 0
            met = f"--fail-on {self.fail_on} was met" if failing else "--baseline-strict was not met"
            return [f"{met}, so the exit status is {self.status}."]
        if self.blind:
            met = f"--require-visible {self.require_visible} was not met"
            return [f"{met}, so the exit status is {self.status}."]
        return []


def _descendants(name: str, program: Program) -> list[str]:
    """What the inserted library has to do with the end of a program, and what it did not show of others."""
    plan = program.plan
    found = []
    if program.ended_with_library:
        found.append(
            f"{name} was killed by SIGABRT before the inserted library had reported, as dyld does when it "
            "cannot load it (the crash report has the termination namespace DYLD then). "
            "Fix: --delivery client, or none."
        )
    if plan.children_reason and not plan.children_delivered and program.descendants:
        found.append(
            f"The processes that {name} started ran without the inserted library, so their optional and soft "
            f"hits were not seen: {plan.children_reason}."
        )
    found += [
        f"{printable(path)} ran without the inserted library, so its optional and soft hits were not "
        "seen: the variables were removed from its environment, or its file does not accept them."
        for path in program.unseen
    ]
    if program.descendants and program.unnoticed_below:
        found.append(
            f"A child process without the library is noticed if it runs for {program.unnoticed_below:.1f} s."
        )
    return found


def unseen(visibility: Visibility) -> list[str]:
    """A sentence for each reason why hits could not be seen, and one with the fix."""
    found = []
    for severities, reason in visibility.gaps():
        words = " and ".join(severity.value for severity in severities)
        found.append(f"{words.capitalize()} hits could not be seen: {reason}.")
    if found and visibility.fix:
        found.append(f"Fix: {visibility.fix}.")
    return found


def _none_seen(name: str, visibility: Visibility | None) -> str:
    if visibility is None or not visibility.unseen:
        return f"no guard hits in {name}."
    seen = [severity.value for severity in SEVERITIES if severity not in visibility.unseen]
    if not seen:
        return f"guard hits of {name} could not be seen."
    return f"no {' or '.join(seen)} guard hits in {name}."
