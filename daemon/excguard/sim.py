"""`python -m excguard.sim`: the simulator's command `python -m excsim`, under its name in excguard 0.1."""

import sys

try:
    from excsim.__main__ import main
except ImportError:  # a macOS wheel
    sys.exit("excguard.sim: this installation has no simulator: macOS has a Mach kernel of its own")

if __name__ == "__main__":
    sys.exit(main())
