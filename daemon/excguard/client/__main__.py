"""Print the directory of the C client: ``cc -I$(python -m excguard.client) ...``."""

import sys

from excguard.client import DIRECTORY

sys.stdout.write(f"{DIRECTORY}\n")
