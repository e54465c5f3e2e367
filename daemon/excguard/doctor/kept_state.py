"""The journals and the table of target names: can the next start use what earlier ones have left."""

from collections.abc import Iterator
from pathlib import Path

from excguard import config as configuration
from excguard.config import Config
from excguard.doctor.finding import Finding, Status
from excguard.doctor.machine import System
from excguard.knowledge import releases
from excguard.pipeline import journal as journals
from excguard.pipeline import target_names

_SET_ASIDE = "excguard serve sets it aside at its next start and begins a new one"


def kept_state(system: System, config: Config) -> Iterator[Finding]:
    """Are the files undamaged; and which were set aside before."""
    path = Path(config.journal.path) if config.journal.path else configuration.default_journal_path()
    release = releases.parse(system.host.release).version
    table = target_names.table_of(path)
    found = sorted({path, table, *path.parent.glob(f"{path.name}.*")}) if path.parent.is_dir() else []
    for each in found:
        if ".damaged-" in each.name:
            yield Finding(
                "damaged file",
                Status.WARNING,
                str(each),
                "an earlier start could not use it and set it aside; hits that were not logged may be in it",
                "remove it when it is not needed any more",
            )
        elif each == table:
            yield from _table(each)
        elif not each.name.endswith(".new"):
            yield from _journal(each, release)


def _journal(path: Path, release: int) -> Iterator[Finding]:
    try:
        path.lstat()
        pending = journals.examine(path, release=release)
    except FileNotFoundError:
        return
    except journals.JournalInUseError:
        yield Finding("journal", Status.OK, str(path), "in use by a running excguard")
    except journals.JournalDamagedError as error:
        yield Finding(
            "journal",
            Status.PROBLEM,
            str(error),
            _SET_ASIDE,
            "keep a copy if hits may be missing, then start excguard",
        )
    except (journals.JournalError, OSError) as error:
        yield Finding(
            "journal", Status.PROBLEM, str(error), "excguard serve does not start", "make it readable"
        )
    else:
        waiting = f"{pending} hits wait to be logged" if pending else "nothing waits to be logged"
        yield Finding("journal", Status.OK, str(path), f"undamaged; {waiting}")


def _table(path: Path) -> Iterator[Finding]:
    check = "target names"
    try:
        path.lstat()
        names = target_names.read_table(path)
    except FileNotFoundError:
        return
    except target_names.DamagedTableError as error:
        yield Finding(
            check,
            Status.PROBLEM,
            f"{path}: {error}",
            f"{_SET_ASIDE}; hits of before keep numbers in place of names",
            "restore it from a backup if you have one, or start excguard",
        )
    except OSError as error:
        yield Finding(
            check, Status.PROBLEM, f"{path}: {error}", "excguard serve does not start", "make it readable"
        )
    else:
        yield Finding(check, Status.OK, str(path), f"undamaged; {len(names)} names")
