"""(code, subcode, release) -> what it means; the only package that reads `excguard.knowledge`."""
