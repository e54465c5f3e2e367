"""A user-space stand-in for the Mach kernel, for machines that have none."""
