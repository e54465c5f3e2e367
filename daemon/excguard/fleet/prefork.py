"""What the process that local workers are forked from imports, for all of them."""

import gc

gc.disable()

import distributed.nanny  # noqa: E402, F401 - begins a worker

import excguard.crash_reports.prefilter  # noqa: E402
import excguard.fleet.shard  # noqa: E402
import excguard.fleet.worker  # noqa: E402, F401 - these are what it runs

# What imports leave behind stays: looking through it again and again would cost each worker time.
gc.freeze()
gc.enable()
