"""What the process that local workers are forked from imports, for all of them."""

import gc

gc.disable()

import distributed.nanny  # noqa: E402, F401 - begins a worker

import excguard.fleet.worker  # noqa: E402, F401 - what it runs

# What imports leave behind stays: looking through it again and again would cost each worker time.
gc.freeze()
gc.enable()
