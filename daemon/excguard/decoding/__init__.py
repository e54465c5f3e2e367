"""(code, subcode, release) -> what it means."""
