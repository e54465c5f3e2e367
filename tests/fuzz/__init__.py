"""Fuzzers, one for each reader of what others write: `python -m tests.fuzz`."""
