"""A program for benchmarks to watch: it raises as many guard exceptions in a row as it is told to."""

import shlex
import subprocess
import sys
from pathlib import Path

SOURCE = """
#include <excsim.h>
#include <stdlib.h>
int main(int count, char **arguments)
{
    (void)count;
    excsim_raise_many(0x2000020000002703u, 0, strtoull(arguments[1], NULL, 0));
    return 0;
}
"""


def build(folder: Path) -> str:
    """Compile it in ``folder``; its path. It takes the number of exceptions as its argument."""
    (folder / "raiser.c").write_text(SOURCE)
    flags = subprocess.run(
        [sys.executable, "-m", "excguard.sim", "--cflags", "--libs"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    program = str(folder / "raiser")
    subprocess.run(["cc", "-O2", "-o", program, str(folder / "raiser.c"), *shlex.split(flags)], check=True)
    return program
