"""Start the simulated kernel for a command that needs Mach, on a system without it.

The only module of excguard that imports the simulator; a macOS installation does not contain it.
"""

import sys


class SimulatedKernelError(RuntimeError):
    """The simulated kernel cannot be started; the text says why."""


def start_if_needed() -> None:
    """Make sure that there is a Mach kernel: a real one, the one in the environment, or one of this process.

    Raises:
        SimulatedKernelError: the simulator is not installed, or does not start.
    """
    if sys.platform == "darwin":
        return
    try:
        import excsim  # noqa: PLC0415 - not installed where it is not needed
    except ImportError as error:
        raise SimulatedKernelError("the simulator (excsim) is not installed: reinstall excguard") from error
    try:
        excsim.start_if_needed()
    except excsim.KernelError as error:
        raise SimulatedKernelError(str(error)) from error
