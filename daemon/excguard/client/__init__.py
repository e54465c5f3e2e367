"""The rendezvous client for other programs, in C: ``excguard_client.h`` and ``excguard_client.c``.

``python -m excguard.client`` prints the directory that they are in.
"""

from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(__file__).parent
