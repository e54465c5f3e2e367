"""Names that try to break out: intact in log, metrics and feed, escaped on a terminal."""

import json
import urllib.request
import xml.etree.ElementTree as ET
from pathlib import Path

from excguard.files.escaping import printable
from tests.support.harness import scrape, total
from tests.support.samples import INVALID_NAME
from tests.support.waiting import wait_until

NAMES = [
    'it\'s "quoted" \\ `ticked`',
    "two\nlines\r\nand\ttabs",
    "<script>alert(1)</script>",
    "\N{PILE OF POO} \N{RIGHT-TO-LEFT OVERRIDE}gnp.exe",
    "\x1b[31mred\x1b[0m\x07",
    'x",target="y"} 9\n# HELP forged',
    "x" * 10_000,
]


def test_log_metrics_and_feed_have_them_intact(serve, child: str) -> None:
    tables = [
        f'[[target]]\nname = {json.dumps(name, ensure_ascii=False)}\nrestart = "never"\n'
        f'command = ["{child}", "raise", "{INVALID_NAME:#x}", "2"]\n'
        for name in NAMES
    ]
    daemon = serve("\n".join([*tables, '[[target]]\nname = "still"\ncommand = ["sleep", "600"]\n']))
    url = daemon.url

    hits = daemon.wait_for("guard_hit", 2 * len(NAMES))
    assert sorted(hit["target"] for hit in hits) == sorted(NAMES * 2)
    samples = wait_until(
        lambda: scrape(url), lambda found: total(found, "excguard_hits_total") == 2 * len(NAMES)
    )
    for name in NAMES:
        assert total(samples, "excguard_hits_total", target=name) == 2
        assert total(samples, "excguard_target_starts_total", target=name) == 1
    with urllib.request.urlopen(url.removesuffix("metrics") + "events") as response:
        state = next(json.loads(line[6:]) for line in response if line.startswith(b"data: "))
    names = {target["id"]: target["name"] for target in state["targets"]}
    assert sorted(names.values()) == sorted([*NAMES, "still"])
    assert sorted(names[hit["target"]] for hit in state["hits"]) == sorted(NAMES * 2)
    assert daemon.stop() == 0


def test_terminal_report_and_junit_of_a_run(run, child: str, tmp_path: Path) -> None:
    name = "".join(NAMES)
    report, junit = tmp_path / "run.json", tmp_path / "run.xml"
    files = ("--report", str(report), "--junit", str(junit))

    done = run("--name", name, "--fail-on", "optional", *files, "--", child, "raise", hex(INVALID_NAME), "1")

    assert done.returncode == 3
    for sequence in ("\x1b[31m", "\x07", "\N{RIGHT-TO-LEFT OVERRIDE}", "\n# HELP forged"):
        assert sequence not in done.stderr
    assert json.loads(report.read_bytes())["target"] == name
    # XML has no way to write control characters: there they are escaped, and nothing else is lost.
    suite = ET.parse(junit).getroot()[0]  # noqa: S314 - of our own making
    assert suite.get("name") == f"excguard: {printable(name)}"
    classes = [case.get("classname") for case in suite.findall("testcase")]
    assert classes == ["excguard." + printable(name).replace(".", "_")]
    assert suite.get("failures") == "1"
