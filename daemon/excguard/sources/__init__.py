"""Hits that no exception port sees: of processes that nobody started here, of hardened ones, of fatal guards.

Two more sources tell of them, each with its own delay and gaps: crash reports and the unified log. What they
tell is a `Sighting`; whether it is a hit that was counted before is decided in one place (`once.py`).
"""
