"""``python -m tests.conformance.oracle [--release R]``: how far a kernel agrees with the rows, by kind."""

# ruff: noqa: T201 - it prints

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict

from tests.conformance.oracle import sequences
from tests.support.simulator import Kernel


def main() -> int:
    """Runs the rows of each release on its simulator and prints the differences by kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the built program `sequences`")
    parser.add_argument("--release", action="append", choices=sequences.RELEASES)
    parser.add_argument("--examples", type=int, default=1, help="how many differences of each kind to print")
    parser.add_argument("--only", default="", help="rows whose id contains this")
    arguments = parser.parse_args()
    for release in arguments.release or sequences.RELEASES:
        rows = [row for row in sequences.load(release) if arguments.only in row["id"]]
        with Kernel(release=release, task_exc_guard=0x11) as kernel:
            outcomes = sequences.run([arguments.program, "2"], rows, kernel.environ)
        count, differences = sequences.agreement(rows, outcomes)
        same = count - len(differences)
        print(f"{release}: {same} of {count} the same ({100 * same / max(count, 1):.2f} %)")
        kinds: dict[tuple[str, ...], list[sequences.Difference]] = defaultdict(list)
        for difference in differences:
            kinds[difference.call, difference.kind, str(difference.expected), str(difference.found)].append(
                difference
            )
        for kind, found in sorted(kinds.items(), key=lambda item: -len(item[1])):
            states = Counter(difference.row.rpartition("/")[0] for difference in found)
            print(f"  {len(found):5} {' | '.join(kind)}  {dict(states.most_common(4))}")
            for difference in found[: arguments.examples]:
                print(f"          {difference.row}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
