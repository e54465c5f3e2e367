"""The keys of the configuration: their types, defaults and limits."""

import enum
from typing import Annotated, Literal

from msgspec import Meta, Struct

from excguard.gate.verdict import IgnoreRule
from excguard.knowledge.exception_behavior import Behavior
from excguard.knowledge.guard_behavior import GuardBehavior

LogFormat = Literal["auto", "console", "json"]

# The description of a field is the "allowed" half of an error about it.
NAME = Meta(description="text of one character or more, different for each target", min_length=1)
COMMAND = Meta(description='a list of text, the program first: ["/usr/bin/true", "argument"]', min_length=1)
PATH = Meta(description="a path; relative ones start at the directory of the configuration file")
DIRECTORY = Meta(description="the path of an existing directory")
ENVIRONMENT = Meta(description='a table of text: { NAME = "value" }, with no "=" in the names')
FIRST = Meta(description="a whole number from 0 to 100000", ge=0, le=100_000)
WINDOW = Meta(description="seconds, from 1 to 86400", ge=1.0, le=86_400.0)
UNIX = "unix:"
LISTEN = Meta(
    description=(
        '"HOST:PORT" such as "127.0.0.1:12012" or "[::1]:12012", "unix:PATH" of at most 103 bytes for a Unix '
        'socket, or "" for no endpoint'
    )
)
SWITCH = Meta(description="true or false")
CAPACITY = Meta(description="a power of two from 1024 to 16777216", ge=1 << 10, le=1 << 24)
GUARD_BEHAVIOR = Meta(description='names such as "MP_DELIVER|MP_FATAL", or "" to leave it unchanged')
DELAY = Meta(description="seconds, from 0 to 3600", ge=0.0, le=3600.0)
DIRECTORIES = Meta(description='a list of paths: ["~/Library/Logs/DiagnosticReports"]')
PROCESSES = Meta(description='a list of names of programs, "*" and "?" in them for any text: ["Mail", "My*"]')
LOG_COMMAND = Meta(description='a list of text: ["/usr/bin/log", "show", "--style", "ndjson"]')

URL = Meta(
    description='the start of an address: "http://collector.example:4318", or "" for the environment\'s'
)
SECRET_URL = Meta(description='an address of http or https, for Sentry the DSN; "" for none')
PER_HOUR = Meta(description="a whole number from 1 to 3600", ge=1, le=3600)

MAX_TARGETS = 128  # EXCGUARD_MAX_TARGETS of native/receiver.h; a test compares them


class Reply(enum.Enum):
    """How exceptions are answered."""

    FORWARD = "forward"
    """Not handled: the kernel goes on to the next handler, and ReportCrash writes its report as usual."""
    CONSUME = "consume"
    """Handled: no crash report is written. A fatal guard still ends the program."""


class Restart(enum.Enum):
    """When a target is started again."""

    NEVER = "never"
    ON_FAILURE = "on_failure"
    """After a status other than 0 and after a signal."""
    ALWAYS = "always"


class Registration(enum.Enum):
    """Who registers a target's exception port."""

    SPAWN = "spawn"
    """The kernel has it from the start of the program."""
    RENDEZVOUS = "rendezvous"
    """The program fetches and registers it."""
    BOTH = "both"
    """The kernel has it from the start; the program may register it once more, and set its own flags."""


class Delivery(enum.Enum):
    """How a program's optional and soft guard hits come to reach handlers, where its flags keep them back."""

    AUTO = "auto"
    """`INSERT` where that is certain to work, else `CLIENT`."""
    INSERT = "insert"
    """A library that excguard inserts into the program sets the flags."""
    CLIENT = "client"
    """The program sets them itself, by excguard_client.c."""
    NONE = "none"
    """The flags stay unchanged."""


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """``[log]``: where the log goes, and how much of a storm is written."""

    format: LogFormat = "auto"
    path: Annotated[str, PATH] = ""
    first: Annotated[int, FIRST] = 10
    window: Annotated[float, WINDOW] = 60.0
    explain: Annotated[bool, SWITCH] = False


class Metrics(Struct, frozen=True, forbid_unknown_fields=True):
    """``[metrics]``: the endpoint that Prometheus scrapes."""

    listen: Annotated[str, LISTEN] = "127.0.0.1:12012"
    web_config: Annotated[str, PATH] = ""
    allow_unprotected: Annotated[bool, SWITCH] = False


class Journal(Struct, frozen=True, forbid_unknown_fields=True):
    """``[journal]``: the file that carries hits from the receiver to the log, even over a crash."""

    path: Annotated[str, PATH] = ""
    capacity: Annotated[int, CAPACITY] = 65_536


class CrashReports(Struct, frozen=True, forbid_unknown_fields=True):
    """``[crash_reports]``: hits that reach no exception port, from ReportCrash's reports."""

    enabled: bool = True
    directories: Annotated[tuple[str, ...], DIRECTORIES] = ()
    processes: Annotated[tuple[str, ...], PROCESSES] = ()
    wait: Annotated[float, DELAY] = 0.0


class UnifiedLog(Struct, frozen=True, forbid_unknown_fields=True):
    """``[unified_log]``: hits that reach no exception port, from the kernel's lines in the unified log."""

    enabled: bool | Literal["auto"] = "auto"
    processes: Annotated[tuple[str, ...], PROCESSES] = ()
    command: Annotated[tuple[str, ...], LOG_COMMAND] = ()


class Otlp(Struct, frozen=True, forbid_unknown_fields=True):
    """``[otlp]``: hits as log records of OpenTelemetry."""

    enabled: Annotated[bool, SWITCH] = False
    endpoint: Annotated[str, URL] = ""


class WebhookFormat(enum.Enum):
    """The form of a webhook's messages."""

    JSON = "json"
    SLACK = "slack"
    TEAMS = "teams"
    SENTRY = "sentry"


class Webhook(Struct, frozen=True, forbid_unknown_fields=True):
    """``[webhook]``: a message for each new site."""

    url: Annotated[str, SECRET_URL] = ""
    url_file: Annotated[str, PATH] = ""
    format: WebhookFormat = WebhookFormat.JSON
    secret_file: Annotated[str, PATH] = ""
    per_hour: Annotated[int, PER_HOUR] = 60
    severity: Literal["soft", "optional", "fatal"] = "soft"


class Target(Struct, frozen=True, forbid_unknown_fields=True):
    """``[[target]]``: one program to watch.

    In a file, a target without ``behavior`` or ``reply`` has that of the top level.
    """

    name: Annotated[str, NAME]
    command: Annotated[tuple[str, ...], COMMAND]
    directory: Annotated[str, DIRECTORY] = ""
    environment: Annotated[dict[str, str], ENVIRONMENT] = {}
    restart: Restart = Restart.ON_FAILURE
    restart_delay: Annotated[float, DELAY] = 1.0
    restart_delay_max: Annotated[float, DELAY] = 60.0
    stop_timeout: Annotated[float, DELAY] = 5.0
    behavior: Behavior = Behavior.AUTO
    reply: Reply = Reply.FORWARD
    registration: Registration = Registration.SPAWN
    guard_behavior: Annotated[str, GUARD_BEHAVIOR] = ""
    wait_all: bool = False
    delivery: Delivery = Delivery.AUTO
    delivery_children: bool | Literal["auto"] = "auto"

    @property
    def guard_flags(self) -> GuardBehavior | None:
        """The flags that the program sets for itself when it registers its port; None for no change."""
        return GuardBehavior.parse(self.guard_behavior) if self.guard_behavior else None


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. Paths are absolute in what `load` returns."""

    behavior: Behavior = Behavior.AUTO
    reply: Reply = Reply.FORWARD
    log: Log = Log()
    metrics: Metrics = Metrics()
    journal: Journal = Journal()
    crash_reports: CrashReports = CrashReports()
    unified_log: UnifiedLog = UnifiedLog()
    otlp: Otlp = Otlp()
    webhook: Webhook = Webhook()
    target: tuple[Target, ...] = ()
    ignore: tuple[IgnoreRule, ...] = ()

    @property
    def watches_others(self) -> bool:
        """Whether programs that excguard does not start are watched, so that no target is needed."""
        reports, log = self.crash_reports, self.unified_log
        return bool((reports.enabled and reports.processes) or (log.enabled and log.processes))
