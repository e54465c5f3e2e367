"""The events of the JSON log: each with its fields, as docs/events.md and the JSON Schema describe them.

The log is an interface: programs read it. An event is a class here; its docstring says when it is written.
`excguard events --schema` prints the schema of all. Fields may be added in any release; readers ignore fields
that they do not need.
"""

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, NamedTuple, Union

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from excguard.knowledge.severity import LogLevel

Timestamp = Annotated[
    str,
    Meta(
        description="UTC, to the microsecond: when a hit was received, when the rest was logged",
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$",
    ),
]
Hex = Annotated[
    str,
    Meta(
        description="64 bits in hexadecimal: many JSON readers lose the low bits of large numbers",
        pattern="^0x[0-9a-f]{1,16}$",
    ),
]
Target = Annotated[str, Meta(description="the name of the target")]
Pid = Annotated[int, Meta(description="process id", ge=0)]
Error = Annotated[str, Meta(description="what went wrong, in one line")]
Advice = Annotated[str, Meta(description="what to do about it")]
Source = Annotated[str, Meta(description="live, crash_report, unified_log, or another source")]
Kernel = Annotated[str, Meta(description="the kernel's version, or simulated")]
Release = Annotated[str, Meta(description="the system, as in macOS 26.4")]
GuardType = Annotated[
    str | None, Meta(description="MACH_PORT, FD, USER, VN, VIRT_MEMORY or REJECTED_SC; null when unknown")
]
Flavor = Annotated[int | None, Meta(description="the number of the rule within the guard type")]
FlavorName = Annotated[str | None, Meta(description="the name of the rule; null for a number in no table")]
KernelName = Annotated[str | None, Meta(description="the constant in the kernel's headers")]
SeverityWord = Annotated[
    str | None, Meta(description="soft, optional or fatal; null for an unknown guard type")
]
Visibility = Annotated[
    dict[str, Any],
    Meta(
        description="for each severity by what its hits are seen, and why; with fix where it can be improved"
    ),
]
Summary = Annotated[str, Meta(description="what happened, in one sentence")]
Count = Annotated[int, Meta(description="how many since the last such event", ge=0)]
Total = Annotated[int, Meta(description="how many since the start, or in the journal", ge=0)]
Service = Annotated[str, Meta(description="the name of the Mach service")]
File = Annotated[str, Meta(description="the path of the file")]


class Event(Struct, tag_field="event", forbid_unknown_fields=True, kw_only=True):
    """What every event has."""

    timestamp: Timestamp
    level: Annotated[LogLevel, Meta(description="info, warning or error")]

    since: ClassVar[str] = "0.1.0"
    """The release of excguard that first wrote it."""
    levels: ClassVar[tuple[LogLevel, ...]] = ("info",)
    """The levels that it can have."""


class _Rule(Event):
    """The rule that was broken."""

    guard_type: GuardType
    flavor: Flavor
    flavor_name: FlavorName
    kernel_name: KernelName
    severity: SeverityWord
    summary: Summary


class GuardHit(_Rule, tag="guard_hit"):
    """A guard hit, in full: the first hits of each site in a window."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("info", "warning", "error")

    target: Target
    pid: Annotated[int | None, Meta(description="the process that broke the rule; null when not known")]
    thread_id: Annotated[int | None, Meta(description="its thread; null for other sources than live")]
    guard_target: Annotated[
        int | None, Meta(description="low 32 bits of the code: a port name, a descriptor")
    ]
    payload: Annotated[Hex | None, Meta(description="the subcode, under the kernel's name for it")]
    code: Annotated[Hex | None, Meta(description="the code of the exception")]
    subcode: Annotated[Hex | None, Meta(description="the subcode of the exception")]
    behavior: Annotated[str | None, Meta(description="identity_protected or state_identity_protected")]
    reply: Annotated[str | None, Meta(description="forward or consume; null for other sources than live")]
    kernel: Kernel
    release: Release
    source: Source
    seq: Annotated[int, Meta(description="number of the hit within its source; the same if logged again")]
    recovered: Annotated[
        bool, Meta(description="left by an excguard that ended before it had logged the hit")
    ]
    inherited: Annotated[bool, Meta(description="of a process that inherited the exception port")]
    pc: Annotated[Hex | UnsetType, Meta(description="program counter; with state behavior")] = UNSET
    lr: Annotated[Hex | UnsetType, Meta(description="link register; with state behavior")] = UNSET
    sp: Annotated[Hex | UnsetType, Meta(description="stack pointer; with state behavior")] = UNSET
    process: Annotated[str | UnsetType, Meta(description="the name of the process's program, if known")] = (
        UNSET
    )
    executable: Annotated[str | UnsetType, Meta(description="its path")] = UNSET
    image: Annotated[
        str | UnsetType, Meta(description="the path of the library or program that made the call, if known")
    ] = UNSET
    image_uuid: Annotated[
        str | UnsetType, Meta(description="the UUID of that file; empty when it has none")
    ] = UNSET
    image_offset: Annotated[Hex | UnsetType, Meta(description="the place of the call in that file")] = UNSET
    symbol: Annotated[str | UnsetType, Meta(description="the function, if known")] = UNSET
    symbol_offset: Annotated[
        int | UnsetType | None, Meta(description="bytes from its start; null when not known")
    ] = UNSET
    report: Annotated[
        str | UnsetType, Meta(description="the path of the crash report that the hit was found in")
    ] = UNSET
    frames: Annotated[
        list[str] | UnsetType, Meta(description="the stack of that report, innermost first")
    ] = UNSET
    causes: Annotated[
        list[str] | UnsetType, Meta(description="usual causes of such a hit; with log.explain = true")
    ] = UNSET
    advice: Annotated[str | UnsetType, Meta(description="how to fix it; with log.explain = true")] = UNSET
    site_id: Annotated[
        str | UnsetType, Meta(description="identifies rule and place in every run; not of recovered hits")
    ] = UNSET
    site_precision: Annotated[
        str | UnsetType, Meta(description="what site_id stands on: symbol, offset or executable")
    ] = UNSET


class GuardHitsSuppressed(Event, tag="guard_hits_suppressed"):
    """Further hits of a site that were counted instead of logged: one line a second while there are some.

    When there are too many sites at once, one line stands for several, and has no rule.
    """

    levels: ClassVar[tuple[LogLevel, ...]] = ("info", "warning", "error")

    target: Target
    count: Annotated[int, Meta(description="how many hits this line stands for", ge=1)]
    summary: Summary
    kernel: Kernel
    release: Release
    source: Source
    first_timestamp: Annotated[Timestamp, Meta(description="of the first of them; timestamp is the last's")]
    first_seq: Annotated[int, Meta(description="number of the first of them within the source")]
    last_seq: Annotated[int, Meta(description="number of the last of them")]
    recovered: Annotated[bool, Meta(description="left by an excguard that ended before it had logged them")]
    guard_type: GuardType | UnsetType = UNSET
    flavor: Flavor | UnsetType = UNSET
    flavor_name: FlavorName | UnsetType = UNSET
    kernel_name: KernelName | UnsetType = UNSET
    severity: SeverityWord | UnsetType = UNSET
    pc: Annotated[Hex | UnsetType, Meta(description="program counter of the site; with state behavior")] = (
        UNSET
    )
    seqs: Annotated[str | UnsetType, Meta(description="recovered hits: their numbers, as in 3-7,9")] = UNSET


# ---- excguard itself ----


class ServiceStarted(Event, tag="service_started"):
    """Exceptions are being received from here on."""

    kernel: Kernel
    release: Release


class ReleaseInDoubt(Event, tag="release_in_doubt"):
    """The release is newer than the tables, or the kernel's own version is that of another release."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("warning",)

    reason: Annotated[str, Meta(description="what is in doubt, and what follows from it")]


class ServiceStopped(Event, tag="service_stopped"):
    """The last event: everything that was received is logged."""

    hits: Annotated[int, Meta(description="guard hits since the start", ge=0)]
    by_severity: Annotated[dict[str, int], Meta(description="guard hits since the start by severity")]


class ReceiverStopped(Event, tag="receiver_stopped"):
    """No exception is received any more; excguard ends, so that launchd starts it again."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("error",)

    error: Error


class JournalDamaged(Event, tag="journal_damaged"):
    """Another program has changed or truncated the journal. excguard ends; its next start sets it aside."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("error",)

    error: Error


class RunSummary(Event, tag="run_summary"):
    """The last line of `excguard run --json`."""

    target: Target
    command: Annotated[list[str], Meta(description="the program and its arguments")]
    exit_status: Annotated[int, Meta(description="the exit status of excguard")]
    error: Annotated[str | None, Meta(description="why the program could not be started")]
    program_status: Annotated[int | None, Meta(description="the exit status of the program")]
    program_signal: Annotated[int | None, Meta(description="the number of the signal that ended it")]
    timed_out: Annotated[bool, Meta(description="it was ended because of --timeout")]
    seconds: Annotated[float | None, Meta(description="how long it ran, seconds")]
    fail_on: Annotated[str, Meta(description="the value of --fail-on")]
    require_visible: Annotated[str | None, Meta(description="the value of --require-visible")]
    delivery: Annotated[str | None, Meta(description="how optional and soft hits were enabled")]
    delivery_children: Annotated[bool | None, Meta(description="and those of the processes that it starts")]
    visibility: Visibility | None
    descendants: Annotated[int, Meta(description="other processes of the program that were seen", ge=0)]
    descendants_unnoticed_below: Annotated[
        float,
        Meta(description="seconds a descendant must have run to be in descendants_unseen; 0: none is needed"),
    ]
    descendants_unseen: Annotated[list[str], Meta(description="programs that were not watched in full")]
    descendants_left: Annotated[int, Meta(description="processes that still ran when the program ended")]
    descendants_detached: Annotated[bool, Meta(description="processes have left its process group")]
    hits: Annotated[int, Meta(description="guard hits of the run", ge=0)]
    records_lost: Annotated[int, Meta(description="hits that are counted in no site: the journal was full")]
    sites: Annotated[list[dict[str, Any]], Meta(description="each site, as in the file of --report")]
    gate: Annotated[
        dict[str, Any], Meta(description="which sites fail the run, by baseline and ignore rules")
    ]
    collected: Annotated[
        dict[str, Any] | UnsetType, Meta(description="what --collect has gathered, and what is missing")
    ] = UNSET


class ExcguardError(Event, tag="excguard_error"):
    """excguard cannot go on; on standard error only, with --json."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("error",)

    error: Error


class CheckedIn(Event, tag="checked_in"):
    """launchd handed the Mach service over."""

    service: Service


class CheckInFailed(Event, tag="check_in_failed"):
    """launchd did not hand the Mach service over; excguard goes on without it."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("warning",)

    service: Service
    error: Error
    advice: Advice


class MetricsListening(Event, tag="metrics_listening"):
    """The endpoint answers."""

    url: Annotated[str, Meta(description="where the metrics are")]


class MetricsUnavailable(Event, tag="metrics_unavailable"):
    """The endpoint could not be opened; the run goes on without it."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("warning",)

    error: Error


class EndpointError(Event, tag="endpoint_error"):
    """An internal error of the endpoint; each text is logged one time."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("error",)

    error: Error


class WebConfigRejected(Event, tag="web_config_error"):
    """The web configuration is invalid; every request is refused until it is fixed."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("error",)

    error: Error


# ---- the configuration and the log ----


class ConfigurationReloaded(Event, tag="configuration_reloaded"):
    """The configuration was read again, after SIGHUP, and is in effect."""

    file: File
    needs_restart: Annotated[list[str], Meta(description="changed keys that take effect at the next start")]


class ConfigurationRejected(Event, tag="configuration_rejected"):
    """The configuration that was read again is invalid; the old one stays in effect."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("error",)

    file: File
    line: Annotated[
        int | None, Meta(description="the line that is at fault, from 1; null when there is no single one")
    ]
    key: Annotated[
        str | None,
        Meta(description="the key, as in log.path and target[2].restart; null when there is no single one"),
    ]
    error: Error


class ConfigurationIncomplete(Event, tag="configuration_incomplete"):
    """A part of the new configuration could not be put into effect."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("error",)

    file: File
    error: Error


class ConfigurationDeprecated(Event, tag="configuration_deprecated"):
    """A key has an old name; on standard error only."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("warning",)

    error: Annotated[str, Meta(description="the old and the new name")]


class LogReopened(Event, tag="log_reopened"):
    """The log was opened again, after SIGUSR1."""

    path: File


class LogNotReopened(Event, tag="log_not_reopened"):
    """The log could not be opened again; the old file stays in use."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("error",)

    error: Error


# ---- journal and messages ----


class JournalRecovered(Event, tag="journal_recovered"):
    """The journal holds hits that an earlier excguard had not logged; they follow, marked recovered."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("warning",)

    records: Annotated[int, Meta(description="how many hits", ge=1)]
    journal: File


class JournalRecordsLost(Event, tag="journal_records_lost"):
    """The journal was full: hits that no line of the log stands for. Metrics count them."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("error",)

    count: Count
    total: Total


class FileSetAside(Event, tag="file_set_aside"):
    """A journal or table of targets was damaged: it was renamed, and a new one is in use."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("error",)

    file: File
    kept: Annotated[str, Meta(description="where the damaged file is now")]
    error: Error


class MessagesRejected(Event, tag="messages_rejected"):
    """Messages that were refused: not from the kernel, malformed, or of an insecure behavior."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("warning",)

    reason: Annotated[str, Meta(description="the label reason of excguard_messages_rejected_total")]
    count: Count
    total: Total


# ---- targets ----


class TargetStarted(Event, tag="target_started"):
    """The program of a target was started."""

    target: Target
    pid: Pid
    executable: Annotated[str, Meta(description="the path of the program")]
    delivery: Annotated[
        str, Meta(description="how its optional and soft hits are enabled: insert, client, none")
    ]
    delivery_children: Annotated[bool, Meta(description="and those of the processes that it starts")]
    visibility: Visibility | None
    handed_over: Annotated[
        str | None,
        Meta(description="why the program that matters may be another one, which launchd starts; or null"),
    ]


class TargetVisibility(Event, tag="target_visibility"):
    """It became known, or changed, which hits of a target can be seen."""

    target: Target
    visibility: Visibility


class TargetEndedWithLibrary(Event, tag="target_ended_with_library"):
    """A program was ended by SIGABRT before the inserted library had reported: dyld may have refused that.

    The crash report has the termination namespace DYLD then. With delivery = "auto" the next start goes
    without the library.
    """

    levels: ClassVar[tuple[LogLevel, ...]] = ("error",)

    target: Target
    pid: Pid


class DescendantNotSeen(Event, tag="descendant_not_seen"):
    """A program that a target started is not watched in full, such as one with a cleared environment."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("warning",)

    target: Target
    executable: Annotated[str, Meta(description="the path of that program")]


class TargetProcessesDetached(Event, tag="target_processes_detached"):
    """Processes of a target have left its process group and still run."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("warning",)

    target: Target


class TargetNotEnded(Event, tag="target_not_ended"):
    """A process of a target did not end after SIGKILL, and was given up.

    Another process traces it, or it waits for a device in the kernel.
    """

    levels: ClassVar[tuple[LogLevel, ...]] = ("error",)

    target: Target
    pid: Pid


class TargetAttached(Event, tag="target_attached"):
    """excguard attached to a process that was running already."""

    target: Target
    pid: Pid
    replaced_handler: Annotated[bool, Meta(description="the process had another handler, which is restored")]


class DetachFailed(Event, tag="detach_failed"):
    """The former handler of an attached process could not be restored."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("error",)

    pid: Pid
    error: Error


class TargetExited(Event, tag="target_exited"):
    """The program of a target has ended. Its hits are logged before."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("info", "warning")

    target: Target
    pid: Pid
    reason: Annotated[str, Meta(description="exited, failed, killed or stopped")]
    status: Annotated[int | None, Meta(description="its exit status; null when a signal ended it")]
    signal: Annotated[int | None, Meta(description="the number of the signal that ended it")]
    seconds: Annotated[float, Meta(description="how long it ran, seconds")]
    left: Annotated[
        int | None, Meta(description="processes of its group that still run; null when not known")
    ]


class TargetStartFailed(Event, tag="target_start_failed"):
    """The program of a target could not be started."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("error",)

    target: Target
    error: Error


class TargetRestarting(Event, tag="target_restarting"):
    """The program of a target is started again after a delay."""

    target: Target
    delay: Annotated[float, Meta(description="seconds until the start")]


class TargetNoSenders(Event, tag="target_no_senders"):
    """No process can send to the exception port of a target any more: all that inherited it have ended."""

    target: Target


# ---- rendezvous and insertion ----


class _Rendezvous(Event):
    """Something about one process."""

    target: Annotated[str | None, Meta(description="the name of the target; null for another process")]
    pid: Pid


class RendezvousOffered(Event, tag="rendezvous_offered"):
    """Programs can ask for their exception port."""

    service: Service


class RendezvousUnavailable(Event, tag="rendezvous_unavailable"):
    """Programs cannot ask for their exception port; they are started with it."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("error",)

    error: Error
    advice: Advice


class TargetRegisteredItself(_Rendezvous, tag="target_registered_itself"):
    """A program registered its exception port itself."""


class TargetNotRegistered(_Rendezvous, tag="target_not_registered"):
    """A program could not register its exception port."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("error",)

    error: Error
    result: Annotated[str, Meta(description="the kernel's answer, as in KERN_DENIED")]


class TargetNeverAsked(_Rendezvous, tag="target_never_asked"):
    """A program ended without having asked for its exception port."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("info", "warning")


class RendezvousWithoutPorts(_Rendezvous, tag="rendezvous_without_ports"):
    """A process asked for ports, and there are none for it."""

    before: Annotated[bool, Meta(description="it was given its ports before")]


class RendezvousAnswerFailed(_Rendezvous, tag="rendezvous_answer_failed"):
    """The ports could not be sent to the process that asked for them."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("warning",)

    error: Error


class RendezvousMessageRejected(_Rendezvous, tag="rendezvous_message_rejected"):
    """A message to the rendezvous service was malformed."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("warning",)

    reason: Annotated[str, Meta(description="what is wrong with it")]


class LibraryInserted(_Rendezvous, tag="library_inserted"):
    """The library that was inserted into a process reports."""

    path: File
    flags_before: Annotated[int, Meta(description="task_exc_guard flags as it found them")]
    flags_after: Annotated[int, Meta(description="and as it left them")]
    error: Annotated[str | None, Meta(description="why the flags could not be set")]


# ---- other sources ----


class SourceFailed(Event, tag="source_failed"):
    """A source of hits failed, and is started again after a delay."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("warning", "error")

    source: Source
    error: Error
    delay: Annotated[float, Meta(description="seconds until the next attempt")]
    command: Annotated[str | UnsetType, Meta(description="the subprocess, where it is one that failed")] = (
        UNSET
    )
    status: Annotated[int | UnsetType, Meta(description="its exit status")] = UNSET


class SourceFinished(Event, tag="source_finished"):
    """A source of hits has been read to its end."""

    source: Source


class SourceUnreadable(Event, tag="source_unreadable"):
    """A source of hits has something that cannot be read, such as an incomplete crash report."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("warning",)

    source: Source
    kind: Annotated[str, Meta(description="the label kind of excguard_source_failures_total")]
    count: Count
    total: Total
    example: Annotated[str, Meta(description="one of them")]


class PolicyTelemetry(Event, tag="policy_telemetry"):
    """The unified log has lines about an IPC policy that only counts: nothing was raised, it is not a hit."""

    target: Target
    policy: Annotated[str, Meta(description="number of the policy; unknown above 63")]
    count: Count
    total: Total
    pid: Annotated[int, Meta(description="process of the last line")]
    detail: Annotated[str | None, Meta(description="payload of the last line (hex)")]


class CrashReportsMissing(Event, tag="crash_reports_missing"):
    """Processes were killed, and no crash report came within the time of crash_reports.wait."""

    levels: ClassVar[tuple[LogLevel, ...]] = ("warning",)

    pids: Annotated[list[int], Meta(description="ids of the processes")]
    waited: Annotated[float, Meta(description="seconds")]


def _with_a_tag(base: type[Event]) -> list[type[Event]]:
    found = []
    for kind in base.__subclasses__():
        if not kind.__name__.startswith("_"):
            found.append(kind)
        found += _with_a_tag(kind)
    return found


EVENTS: Final[dict[str, type[Event]]] = {str(kind.__struct_config__.tag): kind for kind in _with_a_tag(Event)}
"""Each event by its name."""


class FieldText(NamedTuple):
    """A field of an event, in words."""

    name: str
    type: str
    """As in JSON: "integer or null"."""
    text: str
    optional: bool
    """Whether an event may be without it."""


def when(kind: type[Event]) -> str:
    """When an event is written."""
    return inspect.cleandoc(kind.__doc__ or "")


def fields(kind: type[Event]) -> list[FieldText]:
    """The fields of an event, without those that every event has."""
    definition = schema()["$defs"][kind.__name__]
    return [
        FieldText(name, _type(value), _description(value), name not in definition["required"])
        for name, value in definition["properties"].items()
        if name not in {"event", *Event.__struct_fields__}
    ]


def _description(value: Mapping[str, Any]) -> str:
    return str(value["description"] if "description" in value else value["anyOf"][0]["description"])


def _type(value: Mapping[str, Any]) -> str:
    if "anyOf" in value:
        return " or ".join(_type(one) for one in value["anyOf"])
    if value["type"] == "array":
        return f"array of {value['items']['type']}s"
    return str(value["type"])


def check(event: Mapping[str, Any]) -> Event:
    """A line of the log, as the event that it is.

    Raises:
        msgspec.ValidationError: there is no such event, or its fields are not as described.
    """
    return msgspec.convert(event, Union[tuple(EVENTS.values())])  # type: ignore[no-any-return]  # noqa: UP007


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a line of the log."""
    (found,), definitions = msgspec.json.schema_components(
        [Union[tuple(EVENTS.values())]],  # noqa: UP007 - of a list that is made here
        ref_template="#/$defs/{name}",
    )
    for definition in definitions.values():
        definition.pop("additionalProperties", None)  # of a later release
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of excguard's JSON log",
        **found,
        "$defs": definitions,
    }
