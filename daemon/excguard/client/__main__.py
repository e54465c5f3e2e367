"""Print the directory of the C client: ``cc -I$(python -m excguard.client) ...``."""

import sys

from excguard.client import FOLDER

sys.stdout.write(f"{FOLDER}\n")
