"""Answers as launchctl does, over a directory of state instead of launchd.

It is $LAUNCHCTL_STATE. In it: `calls` gets one JSON list a call; `jobs/TARGET` (slashes as "+") is a
loaded job with the path of its property list; `disabled/TARGET` a disabled one; `stopped/TARGET` one without
a process; `going/TARGET` the number of `print`s that a job booted out will still be there for; `fail.json`
{verb: [status, ...]}: the failures that the next calls of a verb are to have.
Texts and numbers: launchctl(1), and what macOS 13 to 26 print.
"""

import json
import os
import stat
import sys
from pathlib import Path

TEXTS = {
    1: "Operation not permitted",
    2: "No such file or directory",
    3: "No such process",
    5: "Input/output error",
    36: "Operation now in progress",
    37: "Operation already in progress",
    112: "Could not find specified domain",
    113: "Could not find specified service",
    119: "Service is disabled",
    125: "Domain does not support specified action",
    150: "Operation not permitted while System Integrity Protection is engaged",
}
VERBS = {"bootstrap": "Bootstrap", "bootout": "Boot-out", "enable": "Enable", "kickstart": "Kickstart"}
SHOWN = """{target} = {{
	active count = 1
	path = {path}
	type = LaunchAgent
	state = {state}

	program = /opt/excguard
	default environment = {{
		PATH => /usr/bin:/bin
	}}

	runs = 2
{pid}	immediate reason = speculative
	forks = 0
	last exit code = 78: EX_CONFIG
}}
"""
STATE = Path(os.environ["LAUNCHCTL_STATE"])


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


def fail(verb: str, status: int, target: str = "") -> None:
    if status == 113:
        domain, _, label = target.rpartition("/")
        say(f'Bad request.\nCould not find service "{label}" in domain for {domain}')
    elif verb in VERBS:
        say(f"{VERBS[verb]} failed: {status}: {TEXTS[status]}")
        if status == 5:
            say("Try re-running the command as root for richer errors.")
    else:
        say(TEXTS[status])
    raise SystemExit(status)


def file(directory: str, target: str) -> Path:
    path = STATE / directory / target.replace("/", "+")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def planned(verb: str, target: str) -> None:
    plan = STATE / "fail.json"
    failures = json.loads(plan.read_text()) if plan.exists() else {}
    if failures.get(verb):
        status = failures[verb].pop(0)
        plan.write_text(json.dumps(failures))
        if status:
            fail(verb, status, target)


def bootstrap(domain: str, path: str) -> None:
    import plistlib  # noqa: PLC0415 - most calls need none of it, and there are many

    try:
        status = Path(path).stat()
        contents = plistlib.loads(Path(path).read_bytes())
    except FileNotFoundError:
        fail("bootstrap", 2)
    except ValueError:
        fail("bootstrap", 5)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        fail("bootstrap", 5)
    target = f"{domain}/{contents['Label']}"
    if file("disabled", target).exists():
        fail("bootstrap", 119)
    if file("jobs", target).exists():
        fail("bootstrap", 5 if not file("going", target).exists() else 37)
    file("jobs", target).write_text(path)
    file("stopped", target).unlink(missing_ok=True)


def kill(signal: str, target: str) -> None:
    if signal != "SIGTERM" or not file("jobs", target).exists():
        fail("kill", 113, target)
    if file("stopped", target).exists():
        say("No process to signal.")
        raise SystemExit(3)
    file("stopped", target).touch()


def kickstart(*arguments: str) -> None:
    target = arguments[-1]
    assert arguments[:-1] in ((), ("-k",))
    if not file("jobs", target).exists():
        fail("kickstart", 113, target)
    file("stopped", target).unlink(missing_ok=True)


def bootout(target: str) -> None:
    if not file("jobs", target).exists():
        fail("bootout", 3)
    going = file("going", target)
    if (STATE / "slow").exists():
        going.write_text((STATE / "slow").read_text())
    else:
        file("jobs", target).unlink()


def show(target: str) -> None:
    job, going = file("jobs", target), file("going", target)
    if going.exists():
        left = int(going.read_text()) - 1
        going.write_text(str(left))
        if left <= 0:
            going.unlink()
            job.unlink()
    if not job.exists():
        fail("print", 113, target)
    stopped = file("stopped", target).exists()
    sys.stdout.write(
        SHOWN.format(
            target=target,
            path=job.read_text(),
            state="not running" if stopped else "running",
            pid="" if stopped else "\tpid = 4711\n",
        )
    )


def main() -> None:
    STATE.mkdir(exist_ok=True)
    verb, *arguments = sys.argv[1:]
    with (STATE / "calls").open("a") as calls:
        calls.write(json.dumps([verb, *arguments]) + "\n")
    planned(verb, arguments[-1] if verb != "bootstrap" else arguments[0])
    if verb == "bootstrap":
        bootstrap(*arguments)
    elif verb == "bootout":
        bootout(*arguments)
    elif verb == "print":
        show(*arguments)
    elif verb == "enable":
        file("disabled", arguments[0]).unlink(missing_ok=True)
    elif verb == "kickstart":
        kickstart(*arguments)
    elif verb == "kill":
        kill(*arguments)
    else:
        say(f"Unrecognized subcommand: {verb}")
        raise SystemExit(64)


main()
