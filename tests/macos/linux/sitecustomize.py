"""Python runs this at its start when the directory is on PYTHONPATH: see macho_loader.py."""

import os
from pathlib import Path

if "EXCGUARD_TEST_MACOS_CORE" in os.environ:
    import macho_loader

    macho_loader.install(Path(os.environ["EXCGUARD_TEST_MACOS_CORE"]))
