"""Hits that come to no exception port: of programs not started here, of hardened ones, of fatal guards.

Crash reports and the unified log report them, each with its own delay and gaps. What they report is an
`ExternalHit`; whether it is a hit that was counted before is decided in one place (`deduplicator.py`).
"""
