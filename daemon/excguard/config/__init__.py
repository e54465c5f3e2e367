"""The configuration file: its keys, and one clear line for whatever is invalid in it.

The file is TOML. Every key has a default, so an empty file (and no file, for ``excguard run``) is valid.
`config.toml` at the root of the repository shows each key with its default and meaning; a test compares the
two.

An unknown key, a value of the wrong type and a value that cannot work each stop the start with one line that
names the file, the line, the key, what is wrong and what is allowed.
"""

from excguard.config.checks import check, parse_listen
from excguard.config.file import (
    default_journal_path,
    default_path,
    load,
    located,
    parse,
    runs_directory,
    state_directory,
)
from excguard.config.messages import ConfigError
from excguard.config.settings import (
    MAX_TARGETS,
    Config,
    CrashReports,
    Delivery,
    Journal,
    Log,
    LogFormat,
    Metrics,
    Registration,
    Reply,
    Restart,
    Target,
    UnifiedLog,
)

__all__ = [
    "MAX_TARGETS",
    "Config",
    "ConfigError",
    "CrashReports",
    "Delivery",
    "Journal",
    "Log",
    "LogFormat",
    "Metrics",
    "Registration",
    "Reply",
    "Restart",
    "Target",
    "UnifiedLog",
    "check",
    "default_journal_path",
    "default_path",
    "load",
    "located",
    "parse",
    "parse_listen",
    "runs_directory",
    "state_directory",
]
